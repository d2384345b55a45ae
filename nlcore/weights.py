"""The block's weights: names, shapes, checks and initial values, shared by every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlcore.arguments import check_float, check_spec
from nlcore.spec import NonLocalSpec

#: Batch normalization's state: it is loaded and saved, and has no gradient.
RUNNING = ("bn.running_mean", "bn.running_var")
INITS = ("he", "normal")


def weight_shapes(spec: NonLocalSpec) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight that the spec needs, in the order of computation.

    Embeddings are (D, C), out is (C, D), f.weight is (2D,): first D for theta, last D for phi.
    """
    c, d = spec.channels, spec.inner_channels
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("theta", "phi", "g") if spec.embedded else ("g",):
        shapes[f"{name}.weight"] = (d, c)
        if spec.bias:
            shapes[f"{name}.bias"] = (d,)
    if spec.pairwise == "concatenation":
        shapes["f.weight"] = (2 * d,)
        if spec.pair_bias:
            shapes["f.bias"] = ()
    shapes["out.weight"] = (c, d)
    if spec.bias:
        shapes["out.bias"] = (c,)
    if spec.batch_norm:
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"bn.{name}"] = (c,)
    return shapes


def check_weights(spec: NonLocalSpec, weights: Mapping[str, Any]) -> None:
    """Raise unless `weights` holds just the names that the spec needs, each of the right shape.

    Values may be arrays or tensors of any library.

    Raises
    ------
    ValueError
        A missing, extra or misshapen weight, by name, with the shape expected and received.
    TypeError
        `weights` is not a mapping, or an array in it is not floating point.
    """
    check_spec(spec)
    check_named_weights(weight_shapes(spec), weights, f"{spec}")


def check_named_weights(
    expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Any], user: str = "the network"
) -> None:
    """Raise, as `check_weights` does, unless `weights` has just these names and shapes."""
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must be a mapping of name to array; received {type(weights)}")
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(
                f"weight {name!r} is missing: expected shape {shape}; received {sorted(weights)}"
            )
        received = tuple(np.shape(weights[name]))
        if received != shape:
            raise ValueError(f"weight {name!r} must have shape {shape}; received shape {received}")
        dtype = getattr(weights[name], "dtype", "float64")
        seen = getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")
        check_float(f"weight {name!r}", seen)
    extra = sorted(set(weights) - set(expected))
    if extra:
        raise ValueError(
            f"weight {extra[0]!r} is not used by {user}: expected just {sorted(expected)}; "
            f"received also {extra}"
        )


def float64_weights(spec: NonLocalSpec, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The checked weights as C-contiguous float64 arrays."""
    check_weights(spec, weights)
    out = {}
    for name in weight_shapes(spec):
        array = np.asarray(weights[name])
        check_float(f"weight {name!r}", array.dtype.name)  # lists have shown theirs only now
        # keeps () as (); writable: numba would compile everything once more for a read-only array
        out[name] = np.require(array, np.float64, ["C", "A", "W"])
    return out


def check_options(init: str, identity: bool, momentum: float) -> None:
    """Raise TypeError or ValueError unless a layer's options are those that its docstring names."""
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}; received {init!r}")
    if not isinstance(identity, bool):
        raise TypeError(f"identity must be a bool; received {identity!r}")
    if not isinstance(momentum, (int, float)) or isinstance(momentum, bool):
        raise TypeError(f"momentum must be a float in [0, 1]; received {momentum!r}")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be a float in [0, 1]; received {momentum!r}")


def init_std(spec: NonLocalSpec, name: str, init: str) -> float:
    """Standard deviation of the normal distribution that weight `name` starts from.

    "he": sqrt(2 / fan_in), fan_in being the length of the products that the weight takes part in
    (He et al. 2015, "Delving Deep into Rectifiers", as the paper has it). "normal": 0.01, as in
    the authors' code.

    Raises
    ------
    ValueError
        Unknown init.
    """
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}; received {init!r}")
    if init == "normal":
        return 0.01
    return float(np.sqrt(2.0 / weight_shapes(spec)[name][-1]))


def starts_constant(spec: NonLocalSpec, name: str, identity: bool) -> float | None:
    """The constant that weight `name` starts from, or None where it starts random (`init_std`).

    Biases and the running mean start at 0, the running variance at 1. With `identity`, the block
    starts as the identity: BN's weight is 0, or without BN, W_z and its bias are.
    """
    if name == "bn.weight":
        return 0.0 if identity else 1.0
    if name == "bn.running_var":
        return 1.0
    if name.endswith(".bias") or name == "bn.running_mean":
        return 0.0
    if name == "out.weight" and identity and not spec.batch_norm:
        return 0.0
    return None


def identity_weights(spec: NonLocalSpec) -> tuple[str, ...]:
    """Names of the weights that are 0 exactly where the block is the identity, z = x.

    They are batch normalization's weight and bias, or without it those of W_z.
    """
    part = "bn" if spec.batch_norm else "out"
    return tuple(n for n in (f"{part}.weight", f"{part}.bias") if n in weight_shapes(spec))


def init_weights(
    spec: NonLocalSpec, rng: np.random.Generator, init: str = "he", identity: bool = True
) -> dict[str, np.ndarray]:
    """Initial weights of a block, by name, as float64 arrays of `weight_shapes(spec)`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the random ones are drawn from.
    init : {"he", "normal"}
        See `init_std`.
    identity : bool
        Start as the identity, z = x, see `starts_constant`.

    Raises
    ------
    TypeError, ValueError
        rng is no Generator; unknown init.
    """
    check_spec(spec)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator; received {type(rng).__name__}")
    init_std(spec, "out.weight", init)  # an unknown init is an error whatever starts constant
    weights = {}
    for name, shape in weight_shapes(spec).items():
        constant = starts_constant(spec, name, identity)
        if constant is None:
            weights[name] = rng.normal(0.0, init_std(spec, name, init), shape)
        else:
            weights[name] = np.full(shape, constant)
    return weights
