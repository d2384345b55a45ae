"""A named problem, with the rules that it needs and the positions that it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nlcore import NonLocalSpec


@dataclass(frozen=True)
class Named:
    """A problem whose spec is still to be drawn."""

    name: str
    positions: Callable[[NonLocalSpec], tuple[int, ...]]
    channels: int = 6
    inner: int = 5
    batch: int = 2
    data: str = "normal"
    dtypes: tuple[str, ...] = ()  # the dtypes to try it in; without any, two of the backend's
    applies: Callable[[NonLocalSpec], bool] = lambda spec: True
    #: Of the templates that apply, those of which each of these is true, as long as there are some.
    prefers: tuple[Callable[[NonLocalSpec], bool], ...] = ()
    value: int | None = None  # V, if the problem is about it
    sign: int = 0  # of the scale: 1 if it must be positive, -1 if it is negative where it can be


def by_count(spec: NonLocalSpec) -> bool:
    return spec.normalization == "count"


def by_sum(spec: NonLocalSpec) -> bool:
    return spec.normalization == "sum"


def biased(spec: NonLocalSpec) -> bool:
    return spec.bias is True


def biased_embeddings(spec: NonLocalSpec) -> bool:
    return spec.bias == "embeddings"


def unbiased(spec: NonLocalSpec) -> bool:
    return not spec.bias


def normalized(spec: NonLocalSpec) -> bool:
    return spec.batch_norm


def softmax(spec: NonLocalSpec) -> bool:
    """By sum, as by count logits do not overflow."""
    return by_sum(spec) and all_together(spec)


def unpooled_by_sum(spec: NonLocalSpec) -> bool:
    return unpooled(spec) and by_sum(spec)


def scoped(spec: NonLocalSpec) -> bool:
    """f > 0, so that the bound of y is small beside that of the statistics."""
    return spec.extent != "all" and "gaussian" in spec.pairwise


def unpooled(spec: NonLocalSpec) -> bool:
    return spec.subsample is None


def pools(spec: NonLocalSpec) -> bool:
    return spec.subsample is not None


def all_together(spec: NonLocalSpec) -> bool:
    return spec.subsample is None and spec.extent == "all" and spec.window is None


def one_fits(spec: NonLocalSpec) -> bool:
    return spec.subsample is None and spec.window is None


def in_windows(spec: NonLocalSpec, positions: tuple[int, ...]) -> tuple[int, ...]:
    """The positions, their frames rounded up to whole windows."""
    window = spec.window or 1
    return (-(-positions[0] // window) * window, *positions[1:])


def one_position(spec: NonLocalSpec) -> tuple[int, ...]:
    return (1,) * spec.ndim


def few_positions(spec: NonLocalSpec) -> tuple[int, ...]:
    """Eight to sixteen positions, more under pooling."""
    sizes = {1: (8,), 2: (3, 4), 3: (4, 2, 2)}[spec.ndim]
    return tuple(max(n, p) for n, p in zip(sizes, spec.pool, strict=True))


def some_positions(spec: NonLocalSpec) -> tuple[int, ...]:
    """Two or three dozen positions."""
    return {1: (24,), 2: (5, 6), 3: (4, 3, 3)}[spec.ndim]


def many_scopes(spec: NonLocalSpec) -> tuple[int, ...]:
    """Thousands of positions, few of which see each other."""
    return (256, 4, 4) if spec.extent == "space" else (4, 32, 32)


def long_rows(spec: NonLocalSpec, count: int) -> tuple[int, ...]:
    """Positions of which about `count`, and not fewer, see each other."""
    if spec.ndim == 1:
        return (count,)
    if spec.extent == "time":
        return (count, 1, 1)
    frames = {"space": 1, "all": spec.window or (4 if spec.ndim == 3 else 1)}[spec.extent]
    height = max(math.isqrt(count // frames), 1)
    width = -(-count // (frames * height))
    return (height, width) if spec.ndim == 2 else (frames, height, width)
