"""Named problems at the sizes people use: hundreds to thousands of positions that see each other.

Fused, chunked and streamed kernels are entered there, and break there: in a chunk that is not
whole, in the second item of a batch, at a NaN or a row of zeros, with equal keys, or one that
dominates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS
from nlcore_conformance.problems.named_problem import (
    Named,
    all_together,
    long_rows,
    pools,
    unpooled,
)
from nlcore_conformance.problems.question import Question

#: Spec, dtype -> the numbers of pairs B N M at which an implementation changes its algorithm.
Paths = Callable[[NonLocalSpec, str], tuple[int, ...]]

_DTYPES = ("float32", "float64", "float16", "bfloat16")
_DATA = ("normal", "dominating", "equal", "zero position")
#: About how many positions see each other. None of the numbers that follow is a multiple of 64.
SOME, MANY, MOST = 700, 4220, 16630
#: Pairs of positions beyond which no gradient is asked for: its bounds need arrays of all pairs.
GRADIENT_PAIRS = 2**23


def at_length(question: Question, functions: Iterable[str], turn: int) -> Iterator[Named]:
    """The problems at length of a check of these pairwise functions.

    Another `turn` puts kinds of numbers, dtypes and rules together differently.
    """
    if not question.long:
        return
    for k, (function, norm) in enumerate(itertools.product(functions, NORMALIZATIONS)):
        rules = _are(function, norm)
        dtypes = _DTYPES if question.named and not question.training else (_DTYPES[(k + turn) % 4],)
        for n, dtype in enumerate(dtypes, start=k + turn):
            channels, inner = ((4, 4), (3, 2))[n % 2]
            value = (None, inner + 3, None, 1)[(n + k // 2) % 4]
            yield Named(
                "some hundred positions",
                lambda spec: long_rows(spec, SOME),
                channels,
                inner,
                data=_DATA[n % 4],
                dtypes=(dtype,),
                applies=rules,
                prefers=(_PLACES[(n + k) % 4], (unpooled, pools)[(n // 2 + k) % 2]),
                value=value,
                sign=-1 if n % 3 == 0 else 0,
            )
        if question.named and not question.training:
            yield from _thousands(question, rules, _DTYPES[(k + turn) % 4], k % 2 == turn % 2)


def _thousands(
    question: Question, rules: Callable[[NonLocalSpec], bool], dtype: str, most: bool
) -> Iterator[Named]:
    """Thousands of positions. `most` is whether to ask those problems that take a second."""
    if not question.gradient:
        many, dtypes = lambda spec: long_rows(spec, MANY), (dtype,)
        yield Named("thousands of positions", many, 4, 4, 1, "normal", dtypes, rules, (_whole,))
        data, dtypes = "unbalanced", ("float16",)
        yield Named("sums beyond float16", many, 4, 4, 1, data, dtypes, rules, (_whole,))
    if most:  # the bounds of a gradient need arrays of all pairs, so that fewer keys are better
        count, dtypes = (MANY, (dtype,)) if question.gradient else (MOST, ("float32",))
        yield Named(
            "thousands of positions, pooled",
            lambda spec: long_rows(spec, count),
            4,
            4,
            1,
            "normal",
            dtypes,
            lambda spec: rules(spec) and pools(spec) and _whole(spec),
            (lambda spec: (math.prod(spec.pool) > 4) == question.gradient,),
        )


def around(
    counts: Iterable[int], question: Question, paths: Paths, dtypes: Sequence[str], turn: int
) -> Iterator[Named]:
    """Problems of a few more pairs than each of these counts, for the specs with such a path.

    Each is asked in float32, and in float16 by count and in a half precision by sum, as far as
    they are among the `dtypes`. Another `turn` puts the normalizations together differently.
    """
    if not (question.long and question.named) or question.training:
        return
    halves = [dtype for dtype in ("float16", "bfloat16") if dtype in dtypes]
    for k, (count, norm) in enumerate(itertools.product(sorted(counts), NORMALIZATIONS), turn):
        if question.gradient and count > GRADIENT_PAIRS:
            continue
        if "float32" in dtypes:
            yield _beyond(count, norm, paths, "float32", "normal")
        if norm == "count" and "float16" in dtypes:  # f / M is in range, and f is not
            yield _beyond(count, norm, paths, "float16", "overflow")
        elif halves:
            yield _beyond(count, norm, paths, halves[k % len(halves)], "dominating")


def _beyond(count: int, norm: str, paths: Paths, dtype: str, data: str) -> Named:
    """A problem of a few more pairs than `count`, in two items."""

    def applies(spec: NonLocalSpec) -> bool:
        declared = count in paths(spec, dtype)
        return declared and spec.normalization == norm and all_together(spec)

    return Named(
        f"more than {count} pairs",
        lambda spec: long_rows(spec, math.isqrt(count // 2) + 1),
        4,
        4,
        data=data,
        dtypes=(dtype,),
        applies=applies,
        sign=1 if data == "overflow" else 0,
    )


def _are(pairwise: str, normalization: str) -> Callable[[NonLocalSpec], bool]:
    return lambda spec: (spec.pairwise, spec.normalization) == (pairwise, normalization)


def _whole(spec: NonLocalSpec) -> bool:
    """All positions see each other."""
    return spec.extent == "all" and spec.window is None


_PLACES: tuple[Callable[[NonLocalSpec], bool], ...] = (
    _whole,
    lambda spec: spec.extent == "space",
    lambda spec: spec.window is not None,
    lambda spec: spec.extent == "time",
)
