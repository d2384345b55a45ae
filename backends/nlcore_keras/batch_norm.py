"""Batch normalization: the formula, the statistics of a batch, and the running ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple

from keras import ops


class Moments(NamedTuple):
    """Statistics of x (B, *positions, C) over B and all positions, per channel."""

    mean: Any  # (C,)
    variance: Any  # (C,), biased: what normalizes the batch
    unbiased: Any  # (C,), what the running variance takes; 0 of one value per channel


def moments(x: Any) -> Moments:
    """The moments of x (B, *positions, C), in its dtype."""
    axes = tuple(range(len(x.shape) - 1))
    count = ops.cast(prod(ops.shape(x)[:-1]), x.dtype)  # ()
    # not keras.ops.mean, which computes float64 in float32 on JAX
    mean = ops.sum(x, axis=axes) / count
    # from squared deviations, because E[x^2] - E[x]^2 cancels
    variance = ops.sum(ops.square(x - mean), axis=axes) / count
    return Moments(mean, variance, variance * (count / ops.where(count > 1, count - 1, count)))


def batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias, per channel of x (..., C)."""
    return (x - mean) * (weight / ops.sqrt(variance + eps)) + bias


#: (layer, moments of its batch), in the order of the layers' calls.
Observed = list[tuple[Any, Moments]]
_observed: ContextVar[Observed | None] = ContextVar("observed", default=None)


@contextmanager
def observed_moments() -> Iterator[Observed]:
    """While it is entered, layers append their batches' moments and change no running statistics.

    So a function that is traced can return them.
    """
    seen: Observed = []
    token = _observed.set(seen)
    try:
        yield seen
    finally:
        _observed.reset(token)


def update_running(layer: Any, batch: Moments, mean: Any, variance: Any, momentum: float) -> None:
    """Set running = momentum * running + (1 - momentum) * batch, of the mean and the variance.

    `mean` and `variance` are the layer's variables. The variance takes the unbiased one.
    """
    seen = _observed.get()
    if seen is not None:
        seen.append((layer, Moments(*map(ops.stop_gradient, batch))))
        return
    for running, new in ((mean, batch.mean), (variance, batch.unbiased)):
        new = ops.stop_gradient(new)  # (C,)
        value = momentum * ops.cast(running, new.dtype) + (1 - momentum) * new
        running.assign(ops.cast(value, running.dtype))
