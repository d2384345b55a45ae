"""Learning rates as functions of a position in training, which is in iterations or in epochs.

Each is the expression that its source computes, in the same order, so the float64 results are equal
to the source's. C2 rounds them to float32 afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def steps_rate(
    position: float, base: float, steps: Sequence[float], factors: Sequence[float]
) -> float:
    """The base rate times factors[k], where k is the number of steps that were reached.

    A step is reached at position >= step. Source: C2, lib/utils/lr_policy.py, and SlowFast,
    utils/lr_policy.py, `lr_func_steps_with_relative_lrs`. MultiStepLR of mmengine multiplies the
    current rate by gamma at each step, which gives the same numbers for 0.01 and gamma = 0.1.

    Examples
    --------
    >>> steps_rate(150_000, 0.01, (150_000, 300_000), (1, 0.1, 0.01))
    0.001
    """
    return factors[sum(step <= position for step in steps)] * base


def cosine_rate(position: float, base: float, total: float) -> float:
    """base (cos(pi position / total) + 1) / 2. Source: SlowFast, utils/lr_policy.py.

    Examples
    --------
    >>> cosine_rate(98, 0.1, 196)
    0.05
    """
    return base * (math.cos(math.pi * position / total) + 1.0) * 0.5


def warmed_up(
    rate: Callable[[float], float], position: float, warmup: float, start: float
) -> float:
    """The rate, before `warmup` replaced by a line from `start` to the rate at `warmup`.

    Source: SlowFast, utils/lr_policy.py, `get_lr_at_epoch`. C2's warm-up ends one
    iteration earlier, and none of its configurations uses it.

    Examples
    --------
    >>> warmed_up(lambda position: 0.5, 17.0, 34.0, 0.0)
    0.25
    """
    if position >= warmup:
        return rate(position)
    return position * ((rate(warmup) - start) / warmup) + start
