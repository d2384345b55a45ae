"""Kinds of numbers for x and the weights.

Each kind of x is a function in the table `_KINDS`. Most are milder in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nlcore import NonLocalSpec, weight_shapes

#: N(0, 1) of x's shape (B, C, *positions), dtype name, generator -> x, in float64.
Kind = Callable[[np.ndarray, str, np.random.Generator], np.ndarray]


def half(dtype: str) -> bool:
    """Whether the dtype has half precision."""
    return dtype in ("float16", "bfloat16")


def numbers(data: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
    """x (B, C, *positions) of the kind `data`, one of DATA, in float64; dtype is the case's."""
    return _KINDS[data](rng.normal(size=shape), dtype, rng)


def _normal(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """N(0, 1)."""
    return x


def _integers(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """-2..2, with ties and zeros."""
    return rng.integers(-2, 3, x.shape).astype(np.float64)


def _constant(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """One vector at every position."""
    return np.broadcast_to(rng.normal(size=_one(x)), x.shape)


def _equal(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """One of two vectors at each position, so that keys are equal."""
    which = rng.random((len(x), 1, *x.shape[2:])) < 0.5
    return np.where(which, rng.normal(size=_one(x)), rng.normal(size=_one(x)))


def _offset(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """N(0, 1) about a large mean in each channel."""
    return x + (8 if half(dtype) else 64) * rng.normal(size=_one(x))


def _huge_offset(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """N(0, 1) about a mean that leaves few bits for the rest."""
    return x + (64 if half(dtype) else 4096) * rng.normal(size=_one(x))


def _dominating(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """One position is 8 times larger."""
    chosen = tuple(int(rng.integers(n)) for n in x.shape[2:])
    np.moveaxis(x, (0, 1), (-2, -1))[chosen] *= 8
    return x


def _zero_position(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """One position is 0."""
    chosen = tuple(int(rng.integers(n)) for n in x.shape[2:])
    np.moveaxis(x, (0, 1), (-2, -1))[chosen] = 0
    return x


def _cancelling(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Positions in pairs that nearly cancel."""
    return _paired(x, 1 + 1e-3 * x.flat[0])


def _opposite(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Positions in pairs that cancel exactly."""
    return _paired(x, 1.0)


def _paired(x: np.ndarray, ratio: float) -> np.ndarray:
    """The second half of the positions is the first, times minus the ratio."""
    flat = x.reshape(*x.shape[:2], -1)
    middle = flat.shape[-1] // 2
    flat[..., middle : 2 * middle] = -flat[..., :middle] * ratio
    return x


def _tiny(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """N(0, 1) / 4096, or / 64 in float16, which does not have the square of 1 / 4096."""
    return x / (64 if dtype == "float16" else 4096)


#: A power of two that makes N(0, 1) subnormal.
_SUBNORMAL = {"float64": -1026, "float32": -130, "float16": -18, "bfloat16": -130}


def _subnormal(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """N(0, 1) times a power of two, below the normal numbers of the dtype."""
    return x * 2.0 ** _SUBNORMAL[dtype]


def _aligned(x: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """All channels are equal; `weights` makes the entries of a weight's row equal too."""
    return np.broadcast_to(rng.uniform(0.5, 1.5, (len(x), 1, *x.shape[2:])), x.shape)


def _one(x: np.ndarray) -> tuple[int, ...]:
    """The shape of one vector for every position."""
    return (1, x.shape[1], *[1] * (x.ndim - 2))


_KINDS: dict[str, Kind] = {
    "normal": _normal,
    "integers": _integers,
    "constant": _constant,
    "equal": _equal,
    "offset": _offset,
    "huge offset": _huge_offset,
    "dominating": _dominating,
    "zero position": _zero_position,
    "cancelling": _cancelling,
    "opposite": _opposite,
    "large": _normal,  # with large logits, see `taming`
    "overflow": _normal,  # with an f beyond float16 whose f / N is not, see `taming`
    "tiny": _tiny,
    "subnormal": _subnormal,
    "zero f": _normal,  # with weights that make f 0, or the embedded Gaussian's 1
    "aligned": _aligned,
    "large bias": _normal,  # with a bias of W_z far above the values that it is added to
    "unbalanced": _normal,  # with large phi and g, and with as small theta and W_z
}
#: Names of the kinds.
DATA = tuple(_KINDS)


def weights(
    spec: NonLocalSpec, data: str, dtype: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Weights by name, in float64; their size keeps each stage near 1, and none is 0 or 1."""
    out = {}
    for name, shape in weight_shapes(spec).items():
        if name == "bn.running_var":
            out[name] = rng.uniform(0.25, 2.0, shape)
        elif name == "bn.weight":
            out[name] = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        elif name.endswith("bias") or name == "bn.running_mean":
            out[name] = 0.5 * rng.normal(size=shape)
        else:
            out[name] = rng.normal(size=shape) / math.sqrt(shape[-1])
            if data == "aligned" and name != "f.weight":  # equal terms, with equal roundings
                out[name] = np.broadcast_to(out[name][:, :1] / math.sqrt(shape[-1]), shape)
    if data == "zero f":  # so that C = 0, a ReLU is at 0, or all f / C are equal
        zero = "f." if spec.pairwise == "concatenation" else "theta."
        out |= {n: np.zeros_like(v) for n, v in out.items() if n.startswith(zero)}
    if data == "large bias" and "out.bias" in out:
        out["out.bias"] *= 64 if half(dtype) else 4096
    return _unbalanced(spec, out) if data == "unbalanced" else out


def _unbalanced(spec: NonLocalSpec, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with phi and g 1024 times larger, and theta and W_z as much smaller.

    So f and z do not change, but a product of phi and g can overflow float16. The concatenation's
    theta grows too, and w_f shrinks.
    """
    grown = ("phi", "g", "theta") if spec.pairwise == "concatenation" else ("phi", "g")
    out = {}
    for name, value in weights.items():
        layer, _, kind = name.partition(".")
        shrinks = layer == "theta" or (layer in ("f", "out") and kind == "weight")
        out[name] = value * 1024 if layer in grown else value / 1024 if shrinks else value
    return out
