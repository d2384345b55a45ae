"""Named problems, which checks of rules and gradients try first: random search rarely draws them.

They have each kind of number, and the shapes at which implementations break: one position, one key,
odd sizes under pooling, rows of thousands of tiny weights, products of length 8, 64 and 512, and
batch statistics of one value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.problems.case import Case
from nlcore_conformance.problems.numbers import DATA
from nlcore_conformance.problems.question import Question
from nlcore_conformance.problems.templates import Template

#: How many positions see each other in long rows: in z in float16, and in the gradients.
LONG, LONG_GRADIENT = 4096, 512


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


def problems(
    question: Question, allowed: list[Template], dtypes: tuple[str, ...], seed: int
) -> Iterator[Case]:
    """The named problems of a check, each with a spec drawn from the allowed templates.

    Parameters
    ----------
    question
        The check.
    allowed
        Templates of the specs that the check applies to and the backend supports.
    dtypes
        The backend's dtypes.
    seed
        The same seed gives the same problems.
    """
    if not question.named:
        return
    rng = np.random.default_rng([seed, zlib.crc32(question.name.encode())])
    specs = [(t, t.spec(64, 24, 2, 3, 1e-5)) for t in allowed]
    for number, named in enumerate(_named(question)):
        fitting = [t for t, spec in specs if named.applies(spec)]
        # a template that derives D from C gets the C that makes the wanted D
        wide = named.inner > 64
        free = [t for t in fitting if t.inner == "any"]
        fitting = free if wide and free else fitting
        chosen = [d for d in named.dtypes if d in dtypes] if named.dtypes else []
        if not named.dtypes:
            turn = number + int(rng.integers(len(dtypes)))
            chosen = list(dict.fromkeys(dtypes[(turn + k) % len(dtypes)] for k in range(2)))
        for dtype in chosen if fitting else []:
            template = fitting[int(rng.integers(len(fitting)))]
            channels = {"half": 2 * named.inner, "eighth": 8 * named.inner}.get(template.inner)
            spec = template.spec(channels or named.channels, named.inner, 2, 2, 1e-5)
            yield Case(
                spec=spec,
                batch=named.batch,
                positions=_in_windows(spec, named.positions(spec)),
                dtype=dtype,
                data=named.data if named.data in question.data else "normal",
                seed=int(rng.integers(2**16)),
                training=question.training,
            )


def _named(question: Question) -> Iterator[Named]:
    """All named problems of a check."""
    yield Named("one position", _one, applies=_one_fits)
    yield Named("one key", lambda s: tuple(2 * p - 1 for p in s.pool), applies=_pools)
    yield Named("odd sizes", lambda s: tuple(p * 3 + p - 1 for p in s.pool), applies=_pools)
    for data in DATA:
        yield from _with_data(data)
    yield from _widths(question)
    yield from _many_values() if question.training else _long_rows(question)


def _with_data(data: str) -> Iterator[Named]:
    """Numbers of one kind, in the dtypes and under the rules in which they are difficult."""
    if data == "overflow":
        yield Named(data, _some, data=data, dtypes=("float16",), applies=_all_together)
    elif data == "zero f":  # by count the gradient reaches f, by sum C = 0
        yield Named("zero f by count", _some, data=data, applies=_by_count)
        yield Named("zero f by sum", _some, data=data, applies=_by_sum)
    elif data == "large":
        dtypes = ("float16", "float32", "float64")
        yield Named(data, _some, data=data, dtypes=dtypes, applies=_softmax)
    elif data == "large bias":  # its variance is small beside the square of its mean
        yield Named(data, _some, data=data, dtypes=("float32",), applies=_biased)
    elif data == "subnormal":  # which a bias would absorb
        yield Named(data, _some, data=data, dtypes=("float16", "float32"), applies=_unbiased)
    else:
        yield Named(data, _some, data=data)


def _widths(question: Question) -> Iterator[Named]:
    """Products of lengths for which implementations have kernels of their own."""
    every = ("float32", "float64", "float16", "bfloat16")
    gaussian = question.name.endswith(" gaussian")  # its products have the length of the channels
    for width in (8, 64, 512):
        channels = width if gaussian else 12
        yield Named(f"width {width}", _few, channels, width, dtypes=every)
        yield Named(f"width {width}, aligned", _few, channels, width, 2, "aligned", ("float32",))


def _many_values() -> Iterator[Named]:
    """Batch statistics of a single value, and of many."""
    yield Named("one value", _one, batch=1, applies=_one_fits)
    dtypes = ("float16", "float32")
    yield Named("many values", _scopes, channels=3, inner=2, dtypes=dtypes, applies=_scoped)


def _long_rows(question: Question) -> Iterator[Named]:
    """Sums of many terms, in which a narrow accumulator loses the small ones."""
    # a softmax loses its many small terms in its normalizer
    fits = _unpooled_by_sum if question.name.endswith("gaussian") else _unpooled
    for dtype, count in {"float16": LONG, "float32": LONG // 4}.items():
        if question.gradient:  # its bounds need an array of all pairs
            count = LONG_GRADIENT

        def long(spec: NonLocalSpec, count: int = count) -> tuple[int, ...]:
            return _long(spec, count)

        yield Named("long rows", long, 3, 2, 1, dtypes=(dtype,), applies=fits)


def _by_count(spec: NonLocalSpec) -> bool:
    return spec.normalization == "count"


def _by_sum(spec: NonLocalSpec) -> bool:
    return spec.normalization == "sum"


def _biased(spec: NonLocalSpec) -> bool:
    return spec.bias


def _unbiased(spec: NonLocalSpec) -> bool:
    return not spec.bias


def _softmax(spec: NonLocalSpec) -> bool:
    """By sum, as by count logits do not overflow; s > 0, as x x^T is largest on its diagonal."""
    return _by_sum(spec) and _all_together(spec) and spec.scale > 0


def _unpooled_by_sum(spec: NonLocalSpec) -> bool:
    return _unpooled(spec) and _by_sum(spec)


def _scoped(spec: NonLocalSpec) -> bool:
    """f > 0, so that the bound of y is small beside that of the statistics."""
    return spec.extent != "all" and "gaussian" in spec.pairwise


def _unpooled(spec: NonLocalSpec) -> bool:
    return spec.subsample is None


def _pools(spec: NonLocalSpec) -> bool:
    return spec.subsample is not None


def _all_together(spec: NonLocalSpec) -> bool:
    return spec.subsample is None and spec.extent == "all" and spec.window is None


def _one_fits(spec: NonLocalSpec) -> bool:
    return spec.subsample is None and spec.window is None


def _in_windows(spec: NonLocalSpec, positions: tuple[int, ...]) -> tuple[int, ...]:
    """The positions, their frames rounded up to whole windows."""
    window = spec.window or 1
    return (-(-positions[0] // window) * window, *positions[1:])


def _one(spec: NonLocalSpec) -> tuple[int, ...]:
    return (1,) * spec.ndim


def _few(spec: NonLocalSpec) -> tuple[int, ...]:
    """Eight to sixteen positions, more under pooling."""
    sizes = {1: (8,), 2: (3, 4), 3: (4, 2, 2)}[spec.ndim]
    return tuple(max(n, p) for n, p in zip(sizes, spec.pool, strict=True))


def _some(spec: NonLocalSpec) -> tuple[int, ...]:
    """Two or three dozen positions."""
    return {1: (24,), 2: (5, 6), 3: (4, 3, 3)}[spec.ndim]


def _scopes(spec: NonLocalSpec) -> tuple[int, ...]:
    """Thousands of positions, few of which see each other."""
    return (256, 4, 4) if spec.extent == "space" else (4, 32, 32)


def _long(spec: NonLocalSpec, count: int) -> tuple[int, ...]:
    """Positions of which `count` see each other."""
    side = int(np.sqrt(count))
    if spec.ndim < 3:
        return {1: (count,), 2: (side, count // side)}[spec.ndim]
    frames = {"space": 1, "time": count, "all": spec.window or 4}[spec.extent]
    height = 1 if spec.extent == "time" else max(side // frames, 1)
    width = 1 if spec.extent == "time" else count // (frames * height)
    return (frames, height, width)
