"""Bounds on the mean and the mean square of independent draws from a normal distribution.

docs/bounds.md derives them. Each is exceeded with a probability of at most FALSE_ALARM.
"""

from __future__ import annotations

import math

FALSE_ALARM = 1e-9
_T = -math.log(FALSE_ALARM)


def mean_bound(count: int, std: float) -> float:
    """The bound of |mean| of `count` draws from N(0, std^2): std sqrt(2 t / n), t = ln 10^9.

    Examples
    --------
    >>> mean_bound(200, 1.0) < 0.46
    True
    """
    return std * math.sqrt(2 * _T / count)


def square_bounds(count: int, std: float) -> tuple[float, float]:
    """The lower and the upper bound of the mean square of `count` draws from N(0, std^2).

    They are std^2 (1 - 2 sqrt(t / n)), which may be negative, and std^2 (1 + 2 sqrt(t / n) + 2 t /
    n), t = ln 10^9 (Laurent and Massart 2000, Lemma 1).

    Examples
    --------
    >>> lower, upper = square_bounds(2048, 1.0)
    >>> 0.79 < lower < 1 < upper < 1.23
    True
    """
    spread = 2 * math.sqrt(_T / count)
    return std**2 * (1 - spread), std**2 * (1 + spread + 2 * _T / count)
