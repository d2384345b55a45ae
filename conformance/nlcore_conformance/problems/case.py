"""Problems to judge: a `Case`, from which all its arrays follow, and the `Problem` it makes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, weight_shapes

#: How x and the weights are made, see `_numbers`.
DATA = (
    "normal",
    "integers",
    "constant",
    "equal",
    "offset",
    "huge offset",
    "dominating",
    "cancelling",
    "opposite",
    "large",
    "overflow",
    "tiny",
    "subnormal",
    "zero f",
    "aligned",
    "large bias",
)
#: How x lies in memory; the values are the same.
LAYOUTS = ("contiguous", "channels_last", "strided", "reversed", "byteswapped")
#: Those with many terms that are equal, or nearly so beside a bias or a mean: their roundings are
#: not independent.
_DEPENDENT = (
    "constant",
    "equal",
    "offset",
    "huge offset",
    "opposite",
    "tiny",
    "subnormal",
    "zero f",
    "aligned",
    "large bias",
)
#: Those whose point is ties or cancellation.
_AS_IT_IS = ("integers", "constant", "equal", "cancelling", "opposite", "zero f", "aligned")


@dataclass(frozen=True)
class Case:
    """One problem in a handful of small values, from which all its arrays follow."""

    spec: NonLocalSpec
    batch: int
    positions: tuple[int, ...]
    dtype: str
    data: str = "normal"
    layout: str = "contiguous"
    seed: int = 0
    training: bool = False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.arguments()}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        spec = NonLocalSpec(**fields["spec"])
        return Case(**{**fields, "spec": spec, "positions": tuple(fields["positions"])})


@dataclass(frozen=True, eq=False)
class Problem:
    """What a backend is asked: the block's arguments, and the gradient at its output."""

    spec: NonLocalSpec
    weights: dict[str, np.ndarray]
    x: np.ndarray  # (B, C, *positions)
    dz: np.ndarray  # (B, C, *positions)
    training: bool
    dtype: str
    independent: bool = True  # roundings may be taken for independent, see `arithmetic`


def problem(case: Case) -> Problem:
    """The case's problem; its arrays are new at every call."""
    weights, x, dz = arrays(case)
    independent = case.data not in _DEPENDENT
    return Problem(case.spec, weights, x, dz, case.training, case.dtype, independent)


def arrays(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The case's weights, x (B, C, *positions) and dz, in the case's dtype; new at every call."""
    weights, x, dz = _made(case)
    return {n: v.copy() for n, v in weights.items()}, laid_out(x.copy(), case.layout), dz.copy()


@lru_cache(maxsize=2)  # several backends are asked the same
@np.errstate(all="ignore")  # what overflows the dtype is data
def _made(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(case.seed)
    dtype = dtype_named(case.dtype)
    made, x = _tamed(case, *_kept_from_zero(case, _weights(case, rng), _numbers(case, rng), rng))
    weights, x = {n: v.astype(dtype) for n, v in made.items()}, x.astype(dtype)
    return weights, x, rng.normal(size=x.shape).astype(dtype)


def dtype_named(name: str) -> np.dtype:
    """NumPy's dtype, bfloat16 being that of ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _weights(case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of the size that keeps each stage near 1, none of them at a special value."""
    spec, out = case.spec, {}
    for name, shape in weight_shapes(spec).items():
        if name == "bn.running_var":
            out[name] = rng.uniform(0.25, 2.0, shape)
        elif name == "bn.weight":
            out[name] = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        elif name.endswith("bias") or name == "bn.running_mean":
            out[name] = 0.5 * rng.normal(size=shape)
        else:
            out[name] = rng.normal(size=shape) / math.sqrt(shape[-1])
            if case.data == "aligned" and name != "f.weight":  # equal terms, with equal roundings
                out[name] = np.broadcast_to(out[name][:, :1] / math.sqrt(shape[-1]), shape)
    if case.data == "zero f":  # and so C = 0, a ReLU at 0, or weights all alike
        zero = "f." if spec.pairwise == "concatenation" else "theta."
        out |= {n: np.zeros_like(v) for n, v in out.items() if n.startswith(zero)}
    if case.data == "large bias" and spec.bias:
        out["out.bias"] *= 64 if case.dtype in ("float16", "bfloat16") else 4096
    return out


def _kept_from_zero(
    case: Case, weights: dict[str, np.ndarray], x: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """For a dot product normalized by its sum: theta like phi, x about a mean, so C is not near 0.

    Data whose point is ties, or cancellation, stays as it is.
    """
    spec = case.spec
    by_sum = spec.pairwise == "dot_product" and spec.normalization == "sum"
    if not by_sum or case.data in _AS_IT_IS:
        return weights, x
    alike = {
        f"theta.{part}": weights[f"phi.{part}"] + 0.25 * weights[f"theta.{part}"]
        for part in ("weight", "bias")
        if f"theta.{part}" in weights
    }
    sign = rng.choice([-1.0, 1.0], (1, x.shape[1], *[1] * len(case.positions)))
    return weights | alike, x + 1.5 * np.abs(x).mean() * sign


#: Largest logit, largest with "large" data, and largest sum of a logit's absolute terms. The large
#: ones of float32 and float64 are beyond the range of exp, those of float16 beyond float16.
_LOGITS = {
    "bfloat16": (4.0, 16.0, 16.0),
    "float16": (6.0, 60.0, 64.0),
    "float32": (6.0, 120.0, np.inf),
    "float64": (6.0, 800.0, np.inf),
}
#: Largest f of "overflow" data: beyond float16, and not once it is divided by 8 or more.
_BEYOND_FLOAT16 = 2.5e5


def _tamed(
    case: Case, weights: dict[str, np.ndarray], x: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scale theta and phi, or the Gaussian's x, so that no logit is above a limit.

    It is less in half precision, where a logit's own rounding would be as large as it is. Under
    "count" nothing divides by the sum of the f, which must stay in the range of the dtype of sums;
    and so must the third power of what batch statistics divide by, which differentiation forms.
    """
    spec = case.spec
    overflow = case.data == "overflow" and case.dtype == "float16"
    if spec.pairwise == "concatenation" and not overflow:
        return weights, x
    plain, large, cap = _LOGITS[case.dtype]
    fixed = overflow or case.data in ("large", "overflow")
    limit = large if fixed else plain
    if spec.normalization == "count":  # exp(11) overflows float16
        limit = plain if case.dtype == "float16" else min(limit, 20.0 if case.training else 60.0)
    if overflow and spec.normalization == "count":
        limit = math.log(_BEYOND_FLOAT16) if "gaussian" in spec.pairwise else _BEYOND_FLOAT16
        cap = np.inf
    rows = x.reshape(case.batch, spec.channels, -1)  # (B, C, N)
    theta, phi = rows, rows
    if spec.embedded:
        bias = {n: weights.get(f"{n}.bias", np.zeros(1))[:, None] for n in ("theta", "phi")}
        theta = weights["theta.weight"] @ rows + bias["theta"]  # (B, D, N)
        phi = weights["phi.weight"] @ rows + bias["phi"]  # (B, D, N)
    if spec.pairwise == "concatenation":
        left, right = np.split(weights["f.weight"], 2)
        theta = (left @ theta)[:, :, None] + weights.get("f.bias", 0.0)  # (B, N, 1)
        phi = (right @ phi)[:, None]  # (B, 1, N)
        largest = float((theta + phi).max())
        if largest < 1e-2:
            return weights, x
        factor = limit / largest
        grown = {n: v * math.sqrt(factor) for n, v in weights.items() if n[:3] in ("the", "phi")}
        grown["f.weight"] = weights["f.weight"] * math.sqrt(factor)
        if spec.pair_bias:
            grown["f.bias"] = weights["f.bias"] * min(factor, 6e4)
        return weights | grown, x
    theta = abs(spec.scale) * theta.swapaxes(1, 2)  # (B, N, D)
    largest = float((theta @ phi).max() if overflow else np.abs(theta @ phi).max())
    terms = float((np.abs(theta) @ np.abs(phi)).max())
    factor = min(limit / max(largest, 1e-6), cap / max(terms, 1e-6))
    if largest < 1e-2 or (factor >= 1 and not fixed):
        return weights, x
    root = math.sqrt(factor)
    if not spec.embedded:
        return weights, x * root
    # both alike: a factor on theta alone may leave the dtype's range
    scaled = {n: v * root for n, v in weights.items() if n.startswith(("theta.", "phi."))}
    return weights | scaled, x


#: A power of two that makes N(0, 1) subnormal.
_SUBNORMAL = {"float64": -1026, "float32": -130, "float16": -18, "bfloat16": -130}


def _numbers(case: Case, rng: np.random.Generator) -> np.ndarray:
    """x (B, C, *positions) in float64.

    normal: N(0, 1). integers: -2..2, with ties and zeros. constant: one vector everywhere.
    equal: one of two vectors at each position, so that keys are equal. offset, huge offset:
    N(0, 1) about a large mean in each channel. dominating: one position 8 times larger.
    cancelling: positions in pairs that nearly cancel. opposite: positions in pairs that cancel
    exactly. large: N(0, 1), with large logits; overflow: N(0, 1), with an f beyond float16 that
    is not beyond it divided by N (see `_tamed`). tiny: N(0, 1) / 4096. subnormal: N(0, 1) times a
    power of two that is. zero f: N(0, 1), with weights that make f 0, or the embedded Gaussian's 1.
    aligned: every channel alike, and every row of a weight one number. large bias: N(0, 1), with a
    W_z whose bias is far above what it is added to. Most are milder in half precision.
    """
    shape = (case.batch, case.spec.channels, *case.positions)
    half = case.dtype in ("float16", "bfloat16")
    x = rng.normal(size=shape)
    one = (1, shape[1], *[1] * len(case.positions))  # a vector for every position
    if case.data == "aligned":
        return np.broadcast_to(rng.uniform(0.5, 1.5, (shape[0], 1, *shape[2:])), shape)
    if case.data == "integers":
        return rng.integers(-2, 3, shape).astype(np.float64)
    if case.data == "constant":
        return np.broadcast_to(rng.normal(size=one), shape)
    if case.data == "equal":
        which = rng.random((shape[0], 1, *shape[2:])) < 0.5
        return np.where(which, rng.normal(size=one), rng.normal(size=one))
    if case.data == "offset":
        return x + (8 if half else 64) * rng.normal(size=one)
    if case.data == "huge offset":
        return x + (64 if half else 4096) * rng.normal(size=one)
    if case.data == "dominating":
        chosen = tuple(int(rng.integers(n)) for n in case.positions)
        np.moveaxis(x, (0, 1), (-2, -1))[chosen] *= 8
    elif case.data in ("cancelling", "opposite"):
        flat = x.reshape(*shape[:2], -1)
        middle = flat.shape[-1] // 2
        ratio = 1 + 1e-3 * x.flat[0] if case.data == "cancelling" else 1.0
        flat[..., middle : 2 * middle] = -flat[..., :middle] * ratio
    elif case.data == "tiny":
        x /= 64 if case.dtype == "float16" else 4096  # whose square float16 does not have
    elif case.data == "subnormal":
        x *= 2.0 ** _SUBNORMAL[case.dtype]
    return x


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """x (B, C, *positions), its values as they were, in another memory layout."""
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if layout == "byteswapped" and x.dtype.name != "bfloat16":  # which has one byte order
        return x.astype(x.dtype.newbyteorder())
    return x
