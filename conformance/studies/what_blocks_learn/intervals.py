"""Means over seeds with intervals, and bounds on a rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Of all intervals.
CONFIDENCE = 0.95


class Mean(NamedTuple):
    """A mean over seeds, and half the width of its interval: NaN for one seed."""

    value: float
    half: float
    seeds: int

    @property
    def above(self) -> bool:
        """Whether the interval has only positive numbers."""
        return self.value - self.half > 0

    @property
    def below(self) -> bool:
        """Whether the interval has only negative numbers."""
        return self.value + self.half < 0


def mean(values: Sequence[float]) -> Mean:
    """The mean, with Student's interval: half = t s / sqrt(n), with n - 1 degrees of freedom.

    It assumes that the values of seeds are independent and normal. Where all values are equal, the
    interval has no width.

    Examples
    --------
    >>> value, half, count = mean([1.0, 2.0, 3.0])
    >>> value, round(half, 3), count
    (2.0, 2.484, 3)
    """
    from scipy.stats import t

    numbers = np.asarray(values, np.float64)
    count = len(numbers)
    if count < 2:
        return Mean(float(numbers.mean()), float("nan"), count)
    quantile = t.ppf(0.5 + CONFIDENCE / 2, count - 1)
    half = quantile * numbers.std(ddof=1) / np.sqrt(count)
    return Mean(float(numbers.mean()), float(half), count)


def lowest_rate(right: int, count: int, confidence: float = CONFIDENCE) -> float:
    """The exact lower bound on a rate (Clopper and Pearson 1934), one-sided.

    Of a network with a smaller rate, at least `right` of `count` independent answers are right with
    a probability below 1 - `confidence`.

    Examples
    --------
    >>> round(lowest_rate(5, 5), 4)  # the fifth root of 0.05
    0.5493
    """
    from scipy.stats import beta

    return 0.0 if right == 0 else float(beta.ppf(1 - confidence, right, count - right + 1))
