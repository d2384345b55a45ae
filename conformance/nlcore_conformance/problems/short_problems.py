"""Named problems of few positions, or of long rows of tiny weights.

They have each kind of number, and the shapes at which implementations break: one position, one key,
odd sizes under pooling, rows of thousands of tiny weights, products of length 8, 64 and 512, and
batch statistics of one value.
"""

from __future__ import annotations

from collections.abc import Iterator

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.problems.named_problem import (
    Named,
    all_together,
    biased,
    biased_embeddings,
    by_count,
    by_sum,
    few_positions,
    long_rows,
    many_scopes,
    normalized,
    one_fits,
    one_position,
    pools,
    scoped,
    softmax,
    some_positions,
    unbiased,
    unpooled,
    unpooled_by_sum,
)
from nlcore_conformance.problems.numbers import DATA
from nlcore_conformance.problems.question import Question

#: How many positions see each other in long rows: in z in float16, and in the gradients.
LONG, LONG_GRADIENT = 4096, 512


def short_problems(question: Question) -> Iterator[Named]:
    """The named problems of a check that are not at length."""
    if question.initial:
        yield from _many_draws()
    if not question.named:
        return
    yield Named("one position", one_position, applies=one_fits)
    yield Named("one value", one_position, batch=1, applies=one_fits, prefers=(normalized,))
    yield Named("one key", lambda s: tuple(2 * p - 1 for p in s.pool), applies=pools)
    yield Named("odd sizes", lambda s: tuple(p * 3 + p - 1 for p in s.pool), applies=pools)
    for data in DATA:
        yield from _with_data(data)
    yield from _widths(question)
    yield from _values(question)
    yield from _many_values() if question.training else _long_rows(question)


def _with_data(data: str) -> Iterator[Named]:
    """Numbers of one kind, in the dtypes and under the rules in which they are difficult."""
    if data == "overflow":
        yield Named(data, some_positions, data=data, dtypes=("float16",), applies=all_together)
    elif data == "zero f":  # by count the gradient reaches f, by sum C = 0
        yield Named("zero f by count", some_positions, data=data, applies=by_count)
        yield Named("zero f by sum", some_positions, data=data, applies=by_sum)
    elif data == "large":
        dtypes = ("float16", "float32", "float64")
        # s > 0, because x x^T is largest on its diagonal
        yield Named(data, some_positions, data=data, dtypes=dtypes, applies=softmax, sign=1)
    elif data == "large bias":  # its variance is small beside the square of its mean
        yield Named(data, some_positions, data=data, dtypes=("float32",), applies=biased)
    elif data == "unbalanced":  # phi^T g overflows float16, and neither f nor y does
        halves = ("float16", "float32")
        yield Named(data, some_positions, data=data, dtypes=halves, applies=by_count)
    elif data == "subnormal":  # which a bias would absorb
        yield Named(
            data, some_positions, data=data, dtypes=("float16", "float32"), applies=unbiased
        )
    else:
        yield Named(data, some_positions, data=data)


def _widths(question: Question) -> Iterator[Named]:
    """Products of lengths for which implementations have kernels of their own."""
    every = ("float32", "float64", "float16", "bfloat16")
    gaussian = question.name.endswith(" gaussian")  # its products have the length of the channels
    for width in (8, 64, 512):
        channels = width if gaussian else 12
        yield Named(f"width {width}", few_positions, channels, width, dtypes=every)
        yield Named(
            f"width {width}, aligned", few_positions, channels, width, 2, "aligned", ("float32",)
        )


def _values(question: Question) -> Iterator[Named]:
    """A V above and below D, with each kind of bias, and pooled."""
    every = question.training or not question.gradient
    for inner, value in ((3, 8), (7, 2), (1, 5)):
        for prefers in (biased_embeddings, unpooled, pools) if every else (biased_embeddings,):
            name = f"V = {value} for D = {inner}"
            yield Named(name, some_positions, 6, inner, value=value, prefers=(prefers,))
    yield Named("biases of the embeddings alone", some_positions, applies=biased_embeddings)


def _many_draws() -> Iterator[Named]:
    """Blocks with hundreds of random weights, of which rows and columns differ in length."""
    for pairwise in PAIRWISE:
        for batch_norm in (False, True):

            def like(
                spec: NonLocalSpec, pairwise: str = pairwise, batch_norm: bool = batch_norm
            ) -> bool:
                return (spec.pairwise, spec.batch_norm) == (pairwise, batch_norm)

            yield Named("many draws", few_positions, 16, 128, applies=like)


def _many_values() -> Iterator[Named]:
    """Batch statistics of many values."""
    dtypes = ("float16", "float32")
    yield Named("many values", many_scopes, channels=3, inner=2, dtypes=dtypes, applies=scoped)


def _long_rows(question: Question) -> Iterator[Named]:
    """Sums of many terms, in which a narrow accumulator loses the small ones."""
    # a softmax loses its many small terms in its normalizer
    fits = unpooled_by_sum if question.name.endswith("gaussian") else unpooled
    for dtype, count in {"float16": LONG, "float32": LONG // 4}.items():
        if question.gradient:  # its bounds need an array of all pairs
            count = LONG_GRADIENT

        def long(spec: NonLocalSpec, count: int = count) -> tuple[int, ...]:
            return long_rows(spec, count)

        yield Named("long rows", long, 3, 2, 1, dtypes=(dtype,), applies=fits)
