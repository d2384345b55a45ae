"""The problems of the test vectors, and the clauses of docs/spec.md that each of them shows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE, SUBSAMPLE_AT
from nlcore.weights import identity_weights
from nlcore_conformance.problems.case import Case, Problem

#: The dtype that inputs are rounded to -> the dtypes that hold them exactly.
DTYPES = {
    "bfloat16": ("float64", "float32", "float16", "bfloat16"),  # they are rounded to float16 too
    "float16": ("float64", "float32", "float16"),
    "float32": ("float64", "float32"),
}

Fields = dict[str, Any]  # arguments of `_vector` that differ from its defaults

_CLAUSE = dict(zip(PAIRWISE, ("3.1 2.2", "3.2", "3.3", "3.4"), strict=True))


@dataclass(frozen=True)
class Vector:
    """A problem with a name; `change` is applied to its float64 arrays before they are rounded."""

    name: str
    clauses: tuple[str, ...]
    about: str
    case: Case
    change: Callable[[Problem], Problem]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that the vector can be computed in."""
        return DTYPES[self.case.dtype]


def vectors() -> Iterator[Vector]:
    """All test vectors, in the order of the manifest."""
    yield from _pairwise()
    yield from _embeddings()
    yield from _subsampling()
    yield from _extents()
    yield from _batch_normalization()
    yield from _zeros()
    yield from _sizes()
    yield from _numbers()
    yield from _not_finite()
    yield from _dialects()
    yield from _values()


def _vector(
    name: str,
    clauses: str,
    about: str,
    positions: tuple[int, ...],
    spec: NonLocalSpec | None = None,
    *,
    batch: int = 2,
    dtype: str = "bfloat16",
    data: str = "normal",
    training: bool = False,
    change: Callable[[Problem], Problem] = lambda problem: problem,
    channels: int = 6,
    inner: int = 3,
    batch_norm: bool = False,
    **fields: Any,
) -> Vector:
    """A vector, with the spec given or with one of these fields."""
    if spec is None:
        ndim = len(positions)
        spec = NonLocalSpec(channels, inner, ndim=ndim, batch_norm=batch_norm, **fields)
    seed = zlib.crc32(name.encode())  # a new vector changes no other
    case = Case(spec, batch, positions, dtype, data, seed=seed, training=training)
    return Vector(name, tuple(f"NL-{c}" for c in clauses.split()), about, case, change)


def _pairwise() -> Iterator[Vector]:
    for pairwise in PAIRWISE:
        for normalization in NORMALIZATIONS:
            yield _vector(
                f"{pairwise}-{normalization}",
                f"{_CLAUSE[pairwise]} 4.{1 + NORMALIZATIONS.index(normalization)} 4.3"
                " 1.1 1.2 1.4 2.1 2.3 6.1 7.1 7.2 9.1 10.1",
                "the pairwise function and the normalization, and nothing else",
                (3, 4),
                pairwise=pairwise,
                normalization=normalization,
            )
    yield _vector("ndim-1", "1.1", "a line of positions", (7,))
    yield _vector("ndim-3", "1.1", "space and time", (2, 3, 4))
    about = "its shape does not tell its axes apart"
    yield _vector("square", "1.1 6.1", about, (3, 3), pairwise="dot_product")
    yield _vector("cube", "1.1 6.1", about, (3, 3, 3), channels=3, inner=3, pairwise="dot_product")
    for name, about, pairwise, scale in (
        ("inverse-root", "D^-1/2", "embedded_gaussian", 3**-0.5),
        ("root", "D^1/2", "embedded_gaussian", 3**0.5),
        ("gaussian", "C^-1/2, the length of the products", "gaussian", 6**-0.5),
        ("dot_product", "a factor of f", "dot_product", 0.7),
        ("negative", "the largest logit is that of the least product", "embedded_gaussian", -0.5),
    ):
        yield _vector(
            f"scale-{name}",
            f"{_CLAUSE[pairwise]} 9.1",
            f"s: {about}",
            (3, 4),
            pairwise=pairwise,
            scale=scale,
        )
    yield _vector(
        "scale-negative-sum",
        "3.3 4.1 9.1",
        "f is negative, and so is C",
        (3, 4),
        pairwise="dot_product",
        normalization="sum",
        scale=-0.7,
    )


def _embeddings() -> Iterator[Vector]:
    for pairwise in PAIRWISE:
        yield _vector(
            f"bias-{pairwise}",
            "2.1 2.3 7.1 9.1 10.1",
            "biases on the embeddings and on W_z",
            (3, 4),
            pairwise=pairwise,
            bias=True,
        )
    for bias in (False, True):
        yield _vector(
            "pair-bias" + ("-and-biases" if bias else ""),
            "3.4 2.3 9.1 10.1",
            "b_f inside the ReLU" + (", with every other bias" if bias else ""),
            (3, 4),
            pairwise="concatenation",
            bias=bias,
            pair_bias=True,
        )
    for name, channels, inner in (
        ("inner-not-half", 8, 5),
        ("inner-above-channels", 4, 7),
        ("inner-is-channels", 3, 3),
        ("inner-1", 5, 1),
    ):
        for pairwise in ("dot_product", "concatenation"):
            yield _vector(
                f"{name}-{pairwise}",
                f"2.1 9.1 10.1 {_CLAUSE[pairwise]}",
                f"C = {channels}, D = {inner}",
                (3, 4),
                channels=channels,
                inner=inner,
                pairwise=pairwise,
            )
    about = "W_g is (D, C) and the products have length C"
    yield _vector("inner-gaussian", "2.2 10.1", about, (3, 4), inner=2, pairwise="gaussian")


def _subsampling() -> Iterator[Vector]:
    for at in SUBSAMPLE_AT:
        for pairwise, normalization in zip(PAIRWISE, ("sum", "count") * 2, strict=True):
            clauses = "5.1 5.2 5.6 9.1 9.4 " + ("5.3" if at == "embedding" else "5.4")
            if pairwise == "gaussian" and at == "embedding":
                clauses += " 5.5"
            yield _vector(
                f"subsample-{at}-{pairwise}",
                clauses + (" 4.2" if normalization == "count" else ""),
                "odd sizes: the last row and column are in no window",
                (5, 7),
                channels=4,
                inner=3,
                pairwise=pairwise,
                normalization=normalization,
                subsample=(2, 2),
                subsample_at=at,
            )
    windows: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("line", (8,), (3,)),
        ("rows", (4, 7), (1, 3)),
        ("space", (2, 4, 5), (1, 2, 2)),
        ("spacetime", (3, 4, 5), (2, 2, 2)),
        ("time", (5, 2, 2), (2, 1, 1)),
    ]
    for name, positions, window in windows:
        about = f"windows of {' x '.join(map(str, window))}"
        spec: Fields = {"channels": 4, "inner": 2, "subsample": window}
        yield _vector(f"subsample-{name}", "5.1 5.2 5.6", about, positions, **spec)
    for pairwise, at in (("gaussian", "embedding"), ("embedded_gaussian", "input")):
        yield _vector(
            f"ties-{at}",
            "9.4",
            "equal maxima in x: the first one has the gradient",
            (4, 5),
            channels=4,
            data="integers",
            pairwise=pairwise,
            subsample=(2, 2),
            subsample_at=at,
        )


def _extents() -> Iterator[Vector]:
    pool: Fields = {"subsample": (1, 2, 2), "pairwise": "dot_product"}
    pool_time: Fields = {"subsample": (2, 1, 1), "pairwise": "dot_product"}
    relu: Fields = {"pairwise": "concatenation"}
    extents: list[tuple[str, str, str, tuple[int, ...], Fields]] = [
        ("space", "6.2", "its own frame", (3, 2, 3), {}),
        ("space-pooled", "6.2 4.2 5.1", "N is the keys of a frame", (2, 4, 5), pool),
        ("space-one-frame", "6.2", "as extent all", (1, 3, 4), relu),
        ("time", "6.3", "its own pixel", (4, 2, 3), {}),
        ("time-pooled", "6.3 4.2 5.1", "N is the keys of a pixel", (5, 2, 3), pool_time),
        ("time-one-frame", "6.3 1.3", "one key: itself", (1, 2, 3), relu),
    ]
    small: Fields = {"channels": 4, "inner": 2}
    for name, clauses, about, positions, fields in extents:
        fields = {**small, "extent": name.partition("-")[0], **fields}
        yield _vector(f"extent-{name}", f"{clauses} 9.1", about, positions, **fields)
    groups: list[tuple[str, str, int, str, tuple[int, ...], Fields]] = [
        ("2", "6.4", 2, "two groups of two frames", (4, 2, 3), {}),
        ("pooled", "6.4 4.2 5.1", 2, "N is the keys of a group", (4, 2, 5), pool),
        ("1", "6.4", 1, "as extent space", (3, 2, 3), relu),
        ("all", "6.4", 3, "one group: as extent all", (3, 2, 3), {}),
    ]
    for name, clauses, window, about, positions, fields in groups:
        fields = {**small, "window": window, **fields}
        yield _vector(f"window-{name}", f"{clauses} 9.1", about, positions, **fields)


def _batch_normalization() -> Iterator[Vector]:
    bn: Fields = {"batch_norm": True, "channels": 4, "inner": 2}
    batch: Fields = {**bn, "training": True}
    for pairwise in PAIRWISE:
        running = "8.1 7.1 10.1 9.1"
        about = "running statistics; the mean and variance have no gradient"
        yield _vector(f"bn-{pairwise}", running, about, (3, 4), pairwise=pairwise, **bn)
        about = "the batch's mean and biased variance; the gradient goes through both"
        clauses = "8.2 9.2 1.6"
        yield _vector(f"bn-batch-{pairwise}", clauses, about, (3, 4), pairwise=pairwise, **batch)
    about = "an eps that is seen"
    yield _vector("bn-eps", "8.1", about, (3, 4), eps=0.25, **bn)
    yield _vector("bn-batch-eps", "8.2 9.2", about, (3, 4), eps=0.25, **batch)
    yield _vector("bn-bias", "8.1 2.3", "b_z before the normalization", (3, 4), bias=True, **bn)
    yield _vector("bn-batch-bias", "8.2 9.2", "b_z cancels", (3, 4), bias=True, **batch)
    relu: Fields = {**batch, "pairwise": "concatenation", "pair_bias": True}
    yield _vector("bn-batch-pair-bias", "8.2 3.4", "b_f in training", (3, 4), **relu)
    about = "statistics are over all frames, whatever the extent"
    yield _vector("bn-batch-extent", "8.2 6.2", about, (3, 2, 3), extent="space", **batch)
    about = "a mean far above the deviations"
    offset: Fields = {**batch, "data": "offset", "dtype": "float32"}
    yield _vector("bn-batch-offset", "8.2 9.2", about, (3, 4), **offset)
    about = "statistics of 1152 values of one sign"
    long: Fields = {"data": "offset", "batch": 1, "channels": 1, "inner": 1}
    yield _vector("bn-batch-long", "8.2", about, (1152,), **{**batch, **long})
    about = "one value in each channel: its variance is 0"
    yield _vector("bn-batch-one-value", "8.2 1.3", about, (1, 1), batch=1, **batch)
    about = "training changes nothing where there is no batch normalization"
    yield _vector("training-without-bn", "7.1 7.2", about, (3, 4), training=True)
    about = "a block that starts as the identity"
    starts: dict[str, Fields] = {"bn": bn, "bn-batch": batch, "out": {"bias": True}}
    for name, fields in starts.items():
        yield _vector(f"identity-{name}", "10.4", about, (3, 4), change=_identity, **fields)


def _zeros() -> Iterator[Vector]:
    concatenation: Fields = {"pairwise": "concatenation", "bias": True}
    yield _vector(
        "zero-rows-concatenation",
        "4.4 9.5",
        "some rows in which the ReLU lets nothing pass",
        (3, 4),
        normalization="sum",
        pair_bias=True,
        change=lambda p: replace(p, weights={**p.weights, "f.bias": np.array(-0.75)}),
        **concatenation,
    )
    yield _vector(
        "zero-row-dot_product",
        "4.4 9.5",
        "a position whose theta is 0",
        (3, 4),
        pairwise="dot_product",
        normalization="sum",
        change=_at((slice(None), slice(None), 1, 2), 0.0),
    )
    yield _vector(
        "relu-at-0",
        "9.3",
        "the second item's products are 0",
        (3, 4),
        change=_second_item_at_0,
        **concatenation,
    )


def _sizes() -> Iterator[Vector]:
    for pairwise in PAIRWISE:
        for normalization, clause in zip(NORMALIZATIONS, ("4.1", "4.2"), strict=True):
            by: Fields = {"pairwise": pairwise, "normalization": normalization}
            name = f"one-position-{pairwise}-{normalization}"
            yield _vector(
                name, f"1.3 {clause}", "N = M = 1", (1, 1), batch=4, channels=3, inner=2, **by
            )
    about = "one key that every position sees"
    pool: Fields = {"subsample": (3, 3)}
    yield _vector("one-key-dot_product", "1.3 5.1", about, (3, 4), pairwise="dot_product", **pool)
    yield _vector("one-key-embedded_gaussian", "1.3 5.1", about, (3, 4), **pool)
    yield _vector("one-channel", "1.3", "C = D = B = 1", (5,), batch=1, channels=1, inner=1)
    wide: Fields = {"batch": 1, "dtype": "float32"}  # which shows operands in TF32
    for pairwise in PAIRWISE:
        for size in (64, 512):
            length, channels, inner = ("D", 2, size) if pairwise != "gaussian" else ("C", size, 2)
            yield _vector(
                f"wide-{size}-{pairwise}",
                f"{_CLAUSE[pairwise]} 2.1",
                f"{length} = {size}: long products",
                (4,),
                pairwise=pairwise,
                channels=channels,
                inner=inner,
                **wide,
            )
    about = "D = 512 in half precision"
    yield _vector("wide-half", "3.2 2.1", about, (4,), batch=1, channels=1, inner=512)
    for pairwise, clauses in (("embedded_gaussian", "3.2 4.1"), ("dot_product", "3.3 4.2")):
        about = "N = M = 1152: sums of many small terms of one sign"
        long: Fields = {"channels": 1, "inner": 1, "batch": 1, "data": "offset"}
        yield _vector(
            f"long-{pairwise}", f"{clauses} 6.1", about, (1152,), pairwise=pairwise, **long
        )


def _numbers() -> Iterator[Vector]:
    single: Fields = {"dtype": "float32"}
    kinds: list[tuple[str, str, str, Fields]] = [
        ("constant", "4.1", "the same vector everywhere: y = g", {}),
        ("equal", "4.1", "equal keys", {}),
        ("dominating", "4.1", "one key far above the others", {}),
        ("cancelling", "4.2", "positions in pairs that nearly cancel", {"pairwise": "dot_product"}),
        ("large", "3.2 4.1", "logits up to 60", single),
        ("tiny", "4.1", "x near 2^-12", single),
        ("subnormal", "1.4", "x below the normal numbers of float16", {"dtype": "float16"}),
    ]
    for data, clauses, about, fields in kinds:
        yield _vector(f"data-{data}", clauses, about, (3, 4), data=data, **fields)
    for pairwise in ("gaussian", "embedded_gaussian"):
        yield _vector(
            f"overflow-{pairwise}",
            f"4.5 {_CLAUSE[pairwise]}",
            "logits whose exp is beyond float32",
            (3, 4),
            pairwise=pairwise,
            dtype="float32",
            data="large",
            change=_four_times_the_logits,
        )
    for pairwise in ("dot_product", "concatenation"):
        yield _vector(
            f"overflow-{pairwise}",
            f"4.5 {_CLAUSE[pairwise]}",
            "f is beyond float16, f / N is not",
            (3, 4),
            pairwise=pairwise,
            dtype="float16",
            data="overflow",
        )


def _not_finite() -> Iterator[Vector]:
    small: Fields = {"channels": 3, "inner": 2}
    pool: Fields = {"subsample": (2, 2), "subsample_at": "input"}
    relu: Fields = {"pairwise": "concatenation"}
    alone = {**pool, **relu}
    batch: Fields = {"batch_norm": True, "training": True}
    flat, frames = (0, 1, 0, 2), (0, 1, 1, 0, 1)  # where the NaN is: item, channel, position
    places: list[tuple[str, str, str, tuple[int, ...], tuple[int, ...], Fields]] = [
        ("item", "1.6 11.1 11.2", "in one item", (2, 3), flat, {}),
        ("frame", "6.2 11.2", "in one frame", (3, 2, 2), frames, {"extent": "space"}),
        ("pixel", "6.3 11.2", "in one pixel", (3, 2, 2), frames, {"extent": "time"}),
        ("window", "6.4 11.2", "in one group", (4, 2, 2), frames, {"window": 2}),
        ("no-key", "5.2 11.2", "in no pooling window", (5, 5), (0, 1, 4, 1), pool),
        ("maximum", "11.1 11.2", "in a window: the maximum", (4, 4), (0, 1, 1, 1), pool),
        ("relu", "11.1 11.2", "in the ReLU", (2, 3), flat, relu),
        ("relu-alone", "3.4 11.1 11.2", "in one i's ReLU, of no key", (5, 5), (0, 1, 4, 1), alone),
        ("batch", "8.2 11.2", "in one item: the statistics take it to all", (2, 3), flat, batch),
    ]
    for name, clauses, about, positions, where, fields in places:
        change = _at(where, np.nan)
        about = f"a NaN {about}"
        yield _vector(f"nan-{name}", clauses, about, positions, change=change, **small, **fields)
    about = "an infinity in one pixel: z is infinite or NaN there"
    change, clauses = _at(frames, np.inf), "11.1 11.3 6.3"
    yield _vector("infinity", clauses, about, (3, 2, 2), extent="time", change=change, **small)
    about = "an infinity in one item: z is infinite there"
    change, single = _at((0, 0, 2), np.inf), {"channels": 1, "inner": 1}
    dot: Fields = {"pairwise": "dot_product", **single}
    yield _vector("infinity-dot_product", "11.1 11.3", about, (3,), change=change, **dot)


def _dialects() -> Iterator[Vector]:
    for name, known in nlcore.DIALECTS.items():
        ndim = known.ndims[0]
        relu = "concatenation" in known.pairwise and known.fields.get("bias", False)
        pairwise = "concatenation" if relu else "embedded_gaussian"
        spec = nlcore.dialect(
            name,
            8,
            pairwise=pairwise,
            subsample=(1, 2, 2)[-ndim:] if known.pools else None,
        )
        clauses = f"{_CLAUSE[pairwise]} 2.1 7.1 10.1" + (" 5.2" if known.pools else "")
        about = f"every rule of the dialect {name} at once"
        yield _vector(f"dialect-{name}", clauses, about, (2, 4, 5)[-ndim:], spec)


def _values() -> Iterator[Vector]:
    """What version 1.2 of the specification added, after the vectors that were there before."""
    alone: Fields = {"bias": "embeddings"}
    for pairwise in PAIRWISE:
        of: Fields = {"pairwise": pairwise}
        for name, inner, value in (("above", 3, 5), ("below", 5, 2)):
            yield _vector(
                f"value-{name}-inner-{pairwise}",
                f"2.5 2.1 9.1 10.1 {_CLAUSE[pairwise]}",
                f"D = {inner}, V = {value}",
                (3, 4),
                inner=inner,
                value_channels=value,
                **of,
            )
        about = "biases on the embeddings, and none on W_z"
        yield _vector(
            f"bias-embeddings-{pairwise}", "2.3 2.1 9.1 10.1", about, (3, 4), **of, **alone
        )
    about = "biases on the embeddings beside batch normalization"
    yield _vector("bn-bias-embeddings", "2.3 7.1 8.1", about, (3, 4), batch_norm=True, **alone)
    about = "a block without a bias of W_z that starts as the identity"
    yield _vector("identity-out-embeddings", "10.4 2.3", about, (3, 4), change=_identity, **alone)
    wide: Fields = {"inner": 2, "value_channels": 5, **alone}
    for at, clause in zip(SUBSAMPLE_AT, ("5.3", "5.4"), strict=True):
        name, about = f"value-subsample-{at}", "phi and g of different widths are pooled"
        pool: Fields = {"subsample": (2, 2), "subsample_at": at, "pairwise": "concatenation"}
        yield _vector(name, f"2.5 {clause} 9.4", about, (5, 7), **pool, **wide)
    about = "g and y of their own width, in each pixel"
    yield _vector("value-extent", "2.5 6.3", about, (4, 2, 3), extent="time", **wide)


def _at(where: tuple, value: float) -> Callable[[Problem], Problem]:
    """x with `value` at `where`."""

    def change(problem: Problem) -> Problem:
        x = problem.x.copy()
        x[where] = value
        return replace(problem, x=x)

    return change


def _identity(problem: Problem) -> Problem:
    """The weights that are 0 in a block that is the identity, set to 0."""
    names = identity_weights(problem.spec)
    zeros = {name: np.zeros_like(problem.weights[name]) for name in names}
    return replace(problem, weights=problem.weights | zeros)


def _second_item_at_0(problem: Problem) -> Problem:
    """x[1] = 0, b_theta = 0 and b_phi = 0, so that theta, phi and t are 0 there, and g is b_g."""
    x = problem.x * np.array([1.0, 0.0])[:, None, None, None]  # (B, C, H, W)
    names = ("theta.bias", "phi.bias")
    zeros = {name: np.zeros_like(problem.weights[name]) for name in names}
    return replace(problem, x=x, weights=problem.weights | zeros)


def _four_times_the_logits(problem: Problem) -> Problem:
    """x times 2 for the Gaussian, W_theta times 4 for the others."""
    if not problem.spec.embedded:
        return replace(problem, x=2 * problem.x)
    weights = {"theta.weight": 4 * problem.weights["theta.weight"]}
    return replace(problem, weights=problem.weights | weights)
