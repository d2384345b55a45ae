"""The first stage at which a backend's numbers part from the reference's, found from outside.

A failing problem is turned into others in which only some stages do anything, while the numbers
that reach these stages do not change. The first of those problems that fails names the stage.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from nlcore import weight_shapes
from nlcore.reference.pooling import max_pool
from nlcore_conformance.backend.protocol import Backend, accumulates, supports
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import (
    Broken,
    Judgement,
    asked,
    expected,
    float64,
    judge_forward,
    judge_gradient,
)
from nlcore_conformance.problems.case import Case, Problem, problem

#: In the order of the data.
STAGES = ("embedding", "pooling", "operation", "W_z", "batch normalization", "residual")

_EMBEDDINGS = ("theta", "phi", "g")


@dataclass(frozen=True)
class _Step:
    """The stage is wrong if the backend fails in `problem`, and not in `control`."""

    stage: str
    problem: Problem
    control: Problem | None = None


def first_stage(check: Check, backend: Backend, case: Case) -> str:
    """One of STAGES, or "" where it is not known.

    It is not known where z and the gradients are right for a contiguous x, so that the check found
    something else; where the answer has another form; and where the backend does not support the
    problems that would tell.
    """
    whole = problem(replace(case, layout="contiguous"))
    try:
        for gradient in (False, True) if check.gradient else (False,):
            if _fails(backend, whole, "", gradient):
                return _located(backend, whole, gradient)
    except (Broken, NotImplementedError):
        pass
    return ""


def _located(backend: Backend, whole: Problem, gradient: bool) -> str:
    """The first stage that is wrong, of a problem in which the backend fails."""
    for step in _steps(backend, whole):
        stage, control = step.stage, step.control
        if not _fails(backend, step.problem, stage, gradient):
            continue
        if control is not None and _fails(backend, control, stage, gradient):
            continue
        if stage == "operation" and not gradient and _exchanged(backend, step.problem):
            return "embedding"
        return stage
    return "batch normalization" if whole.spec.batch_norm else "W_z"


def _fails(backend: Backend, p: Problem, stage: str, gradient: bool) -> bool:
    """Whether outputs that the stage determines are wrong, or with stage "" any outputs.

    A wrong gradient at theta and phi shows in dx and in the gradients of their weights. A wrong
    gradient at a pooled x shows in dx alone.
    """
    if (why := supports(backend, p.spec, p.dtype)) is not True:
        raise NotImplementedError(why)
    judgements = judge_gradient(backend, p) if gradient else judge_forward(backend, p)
    wrong = _wrong(judgements, stage)
    if not gradient or stage == "":
        return bool(wrong)
    embeddings = {name for name in p.weights if name.startswith(_EMBEDDINGS)}
    if stage == "residual":
        return "dx" in wrong
    if stage == "embedding":
        return bool(wrong & (embeddings | {"dx"}))
    if stage in ("operation", "pooling"):
        early = stage == "pooling" and p.spec.subsample_at == "input"
        seen = wrong & embeddings or not p.spec.embedded or early
        return bool(wrong & {"f.weight", "f.bias"} or ("dx" in wrong and seen))
    return any(not name.startswith("bn.") for name in wrong)


def _wrong(judgements: list[Judgement], stage: str) -> set[str]:
    """Names of the outputs that fail; those with a NaN do not count for a residual."""
    for j in judgements:
        if j.note:
            raise Broken(j.note)
    failing = [j for j in judgements if j.ratio > 1]
    return {j.output for j in failing if stage != "residual" or not math.isnan(j.received)}


def _steps(backend: Backend, whole: Problem) -> Iterator[_Step]:
    """Problems in which more and more stages do something, and the stage that is wrong in each."""
    c, v = whole.spec.channels, whole.spec.value_channels
    bare = _without_batch_norm(backend, whole)
    zeros = {"g.weight": np.zeros((v, c)), "out.weight": np.zeros((c, v))}
    yield _Step("residual", _short(_with(bare, zeros)))  # z = x
    plain = _with(bare, {"out.weight": _selector(c, v)})  # z = y + x
    apart = _apart(backend, plain)
    if apart is not None:  # the operation does nothing
        yield _Step("embedding", apart, _short(_embedded(apart, pooled=False)))
    operation = _embedded(bare, pooled=True)
    yield _Step("operation", _without_pooling(backend, operation) or operation)
    if whole.spec.subsample is not None:
        for p in (_embedded(bare, pooled=False), plain):
            yield _Step("pooling", p, _without_pooling(backend, p))
    yield _Step("embedding", plain)
    if whole.spec.batch_norm:
        yield _Step("W_z", bare)
        # b_z may be lost only where BN follows
        yield _Step("W_z", whole, _with(whole, {"out.weight": whole.weights["out.weight"]}))
        # z = x, whatever BN does with its variance and weight
        nothing = {name: np.zeros(c) for name in ("bn.bias", "bn.running_mean")}
        yield _Step("residual", _with(whole, {"out.weight": zeros["out.weight"], **nothing}))


def _without_batch_norm(backend: Backend, p: Problem) -> Problem:
    """The problem without BN; for a backend that always has it, with a BN that changes nothing."""
    kept = {n: v for n, v in p.weights.items() if not n.startswith("bn.")}
    bare = replace(p, spec=replace(p.spec, batch_norm=False), weights=kept)
    if not p.spec.batch_norm or _supported(backend, bare):
        return bare
    half = {"float16": 7, "float64": 50}.get(p.dtype, 20)  # 4**half + eps rounds to 4**half
    one = np.ones(p.spec.channels)
    values = {"weight": 2.0**half * one, "bias": 0 * one}
    values |= {"running_mean": 0 * one, "running_var": 4.0**half * one}
    return _with(replace(p, training=False), {f"bn.{n}": v for n, v in values.items()})


def _with(p: Problem, weights: dict[str, np.ndarray]) -> Problem:
    """p with these weights, and with zeros as the biases that go with them."""
    biases = {name.replace("weight", "bias") for name in weights}
    zeros = {n: np.zeros_like(p.weights[n]) for n in biases if n in p.weights}
    given = {n: v.astype(p.x.dtype) for n, v in weights.items()}
    return replace(p, weights=p.weights | zeros | given)


def _selector(rows: int, columns: int, first: int = 0) -> np.ndarray:
    """(rows, columns), whose row r selects column (first + r) mod columns."""
    return np.eye(columns)[(first + np.arange(rows)) % columns]


def _apart(backend: Backend, p: Problem) -> Problem | None:
    """Every position as an item of its own, so that f / C(x) is 1 under "sum" and y is g."""
    spec = replace(p.spec, subsample=None, extent="all", window=None)
    ones = (1,) * spec.ndim
    x, dz = (
        np.moveaxis(a, 1, -1).reshape(-1, spec.channels, *ones)  # (B N, C, 1, ...)
        for a in (p.x, p.dz)
    )
    by_sum = replace(p, spec=replace(spec, normalization="sum"), x=x, dz=dz)
    either = (by_sum, replace(by_sum, spec=spec))
    return next((q for q in either if _supported(backend, q)), None)


def _embedded(p: Problem, pooled: bool) -> Problem:
    """The operation of p with theta, phi and g as channels of x, which the weights select.

    z is y in g's channels. With `pooled`, phi and g are pooled already: each value is at all
    positions of its window, so that pooling changes nothing. The Gaussian's x stays x.
    """
    spec, d, v = p.spec, p.spec.inner_channels, p.spec.value_channels
    rows, dz = (np.moveaxis(float64(a), 1, -1) for a in (p.x, p.dz))  # (B, *positions, C)
    w = {name: float64(value) for name, value in p.weights.items()}

    def spread(values: np.ndarray, at: str) -> np.ndarray:
        return _spread(values, spec.pool) if pooled and spec.subsample_at == at else values

    def embedding(name: str, of: np.ndarray) -> np.ndarray:
        return of @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)  # (B, *positions, D)

    keys = spread(rows, "input")
    if spec.embedded:
        phi, g = (spread(embedding(name, keys), "embedding") for name in ("phi", "g"))
        kept = tuple(slice(n) for n in g.shape[:-1])  # positions that fill no window are dropped
        x = np.concatenate([embedding("theta", rows)[kept], phi, g], -1)  # (B, *positions, 2D + V)
        dz = np.concatenate([np.zeros_like(x[..., : 2 * d]), dz[kept] @ w["out.weight"]], -1)
        made = {
            f"{name}.weight": _selector(width, 2 * d + v, start)
            for name, width, start in zip(_EMBEDDINGS, (d, d, v), (0, d, 2 * d), strict=True)
        }
        made["out.weight"] = made["g.weight"].T
    else:
        x = spread(keys, "embedding")
        dz = dz[tuple(slice(n) for n in x.shape[:-1])]
        c = spec.channels
        made = {"g.weight": _selector(v, c), "out.weight": _selector(c, v)}
    simple = replace(spec, channels=x.shape[-1])
    for name, shape in weight_shapes(simple).items():
        if name.startswith(("f.", "bn.")):
            made[name] = np.resize(w[name], shape)  # BN's are the same in all channels
        elif name not in made:
            made[name] = np.zeros(shape)
    dtype = p.x.dtype
    return replace(
        p,
        spec=simple,
        weights={name: made[name].astype(dtype) for name in weight_shapes(simple)},
        x=np.ascontiguousarray(np.moveaxis(x, -1, 1).astype(dtype)),
        dz=np.ascontiguousarray(np.moveaxis(dz, -1, 1).astype(dtype)),
    )


def _exchanged(backend: Backend, p: Problem) -> bool:
    """Whether z is right with W_theta, W_phi and W_g exchanged, or with one used for another."""
    if not p.spec.embedded:
        return False
    (own,) = judge_forward(backend, p)
    sums = accumulates(backend, p.dtype)
    for sources in itertools.product(_EMBEDDINGS, repeat=3):
        pairs = zip(_EMBEDDINGS, sources, strict=True)
        weights = {f"{name}.weight": p.weights[f"{source}.weight"] for name, source in pairs}
        if any(w.shape != p.weights[name].shape for name, w in weights.items()):
            continue  # V is not D
        other = partial(expected, replace(p, weights=p.weights | weights), sums, gradient=False)
        (z,) = judge_forward(backend, p, other)
        says_as_much = z.unpredictable <= own.unpredictable and z.vacuous <= own.vacuous
        if z.ratio <= 1 and says_as_much:
            return True
    return False


def _short(p: Problem) -> Problem:
    """x rounded to eight significant bits, which bfloat16, float16 and TF32 all hold."""
    mantissa, exponent = np.frexp(float64(p.x))
    return replace(p, x=np.ldexp(np.round(256 * mantissa) / 256, exponent).astype(p.x.dtype))


def _spread(rows: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """Each window's maximum at all its positions; (B, *positions, D) without those in no window."""
    values = max_pool(rows, window)[0]
    for axis, size in enumerate(window, 1):
        values = values.repeat(size, axis)
    return values


def _without_pooling(backend: Backend, p: Problem) -> Problem | None:
    """p without subsampling, or None where the backend does not support it."""
    unpooled = replace(p, spec=replace(p.spec, subsample=None))
    return unpooled if _supported(backend, unpooled) else None


def _supported(backend: Backend, p: Problem) -> bool:
    """Whether the backend supports the problem; one without `supports` is called."""
    if hasattr(backend, "supports"):
        return supports(backend, p.spec, p.dtype) is True
    try:
        asked(backend, p)
    except NotImplementedError:
        return False
    return True
