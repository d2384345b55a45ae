"""The block's weights: names, shapes, checks and initial values. Every backend uses them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nlcore.arguments import check_float, check_spec
from nlcore.spec import NonLocalSpec

#: The running statistics of batch normalization. They are loaded and saved, but have no gradient.
RUNNING = ("bn.running_mean", "bn.running_var")
INITS = ("he", "he_fan_out", "normal")


def has_bias(spec: NonLocalSpec, part: str) -> bool:
    """Whether a part of the block ("theta", "phi", "g", "f" or "out") has a bias, if it exists."""
    if part == "f":
        return spec.pair_bias
    return spec.bias is True if part == "out" else bool(spec.bias)


def weight_shapes(spec: NonLocalSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a block's weights, in the order of computation.

    theta and phi have shape (D, C), g has shape (V, C), and out has shape (C, V). f.weight has
    shape (2D,): the first D entries multiply theta_i and the last D multiply phi_j.

    Examples
    --------
    >>> weight_shapes(NonLocalSpec(4, pairwise="gaussian", batch_norm=False))
    {'g.weight': (2, 4), 'out.weight': (4, 2)}
    """
    c, d, v = spec.channels, spec.inner_channels, spec.value_channels
    weights: dict[str, tuple[int, ...]] = {}
    if spec.embedded:
        weights |= {"theta": (d, c), "phi": (d, c)}
    weights["g"] = (v, c)
    if spec.pairwise == "concatenation":
        weights["f"] = (2 * d,)
    weights["out"] = (c, v)
    shapes: dict[str, tuple[int, ...]] = {}
    for part, shape in weights.items():
        shapes[f"{part}.weight"] = shape
        if has_bias(spec, part):
            shapes[f"{part}.bias"] = shape[:1] if part != "f" else ()
    if spec.batch_norm:
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"bn.{name}"] = (c,)
    return shapes


def check_weights(spec: NonLocalSpec, weights: Mapping[str, Any]) -> None:
    """Raise unless `weights` has exactly the names and shapes of `weight_shapes(spec)`.

    The values can be arrays or tensors of any library.

    Raises
    ------
    ValueError
        A weight is missing, extra or has the wrong shape. The message gives its name, the
        expected shape and the received one.
    TypeError
        `weights` is not a mapping, or a weight is not floating point.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore import NonLocalSpec
    >>> spec = NonLocalSpec(4, pairwise="gaussian", batch_norm=False)
    >>> check_weights(spec, {"g.weight": np.ones((2, 4)), "out.weight": np.ones((2, 4))})
    Traceback (most recent call last):
        ...
    ValueError: weight 'out.weight' must have shape (4, 2); received shape (2, 4)
    """
    check_spec(spec)
    check_named_weights(weight_shapes(spec), weights, f"{spec}")


def check_named_weights(
    expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Any], user: str = "the network"
) -> None:
    """Raise the errors of `check_weights` unless `weights` has exactly these names and shapes.

    `user` describes the owner of the weights in the message.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"weights must be a mapping of name to array; received {type(weights).__name__}"
        )
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
            f"weight {extra[0]!r} is not used by {user}: expected exactly {sorted(expected)}; "
            f"also received {extra}"
        )


def float64_weights(spec: NonLocalSpec, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Check the weights and return them as C-contiguous float64 arrays."""
    check_weights(spec, weights)
    out = {}
    for name in weight_shapes(spec):
        array = np.asarray(weights[name])
        check_float(f"weight {name!r}", array.dtype.name)  # a list has no dtype before
        # np.ascontiguousarray would turn shape () into (1,). The array is writable because numba
        # compiles a kernel once more for read-only arguments.
        out[name] = np.require(array, np.float64, ["C", "A", "W"])
    return out


def check_options(init: str, identity: bool, momentum: float) -> None:
    """Raise TypeError or ValueError unless the options of a backend's module or layer are valid."""
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}; received {init!r}")
    if not isinstance(identity, bool):
        raise TypeError(f"identity must be a bool; received {identity!r}")
    if not isinstance(momentum, (int, float)) or isinstance(momentum, bool):
        raise TypeError(f"momentum must be a float in [0, 1]; received {momentum!r}")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be a float in [0, 1]; received {momentum!r}")


def init_std(spec: NonLocalSpec, name: str, init: str) -> float:
    """Standard deviation of the normal distribution of the initial weight `name`.

    For init "he" it is sqrt(2 / fan_in), where fan_in is the length of the dot products with the
    weight (He et al. 2015, "Delving Deep into Rectifiers", which the paper uses). For "he_fan_out"
    it is sqrt(2 / fan_out), where fan_out is the number of dot products, as in SlowFast. For
    "normal" it is 0.01, as in the authors' code.

    Raises
    ------
    ValueError
        init is unknown.
    """
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}; received {init!r}")
    if init == "normal":
        return 0.01
    *outputs, inputs = weight_shapes(spec)[name]  # w_f is one row
    fan = inputs if init == "he" else math.prod(outputs)
    return float(np.sqrt(2.0 / fan))


def starts_constant(spec: NonLocalSpec, name: str, identity: bool) -> float | None:
    """The initial value of weight `name`, or None if the weight is drawn at random (`init_std`).

    Biases and the running mean start at 0, and the running variance starts at 1. With `identity`,
    the new block is the identity: the weight of batch normalization starts at 0. Without batch
    normalization, W_z starts at 0.
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
    """Names of the weights that are all 0 in a block that starts as the identity, z = x.

    They are the weight and bias of batch normalization, or those of W_z without it. W_z may have
    no bias.
    """
    part = "bn" if spec.batch_norm else "out"
    return tuple(n for n in (f"{part}.weight", f"{part}.bias") if n in weight_shapes(spec))


def init_weights(
    spec: NonLocalSpec, rng: np.random.Generator, init: str = "he", identity: bool = True
) -> dict[str, np.ndarray]:
    """Initial weights of a block: float64 arrays by name, with the shapes of `weight_shapes(spec)`.

    Parameters
    ----------
    spec : NonLocalSpec
    rng : numpy.random.Generator
        Source of the random weights.
    init : {"he", "he_fan_out", "normal"}
        Standard deviation of the random weights: sqrt(2 / fan_in) ("he"), sqrt(2 / fan_out)
        ("he_fan_out") or 0.01 ("normal").
    identity : bool
        Whether the new block is the identity, z = x. The weight of batch normalization is then 0.
        Without batch normalization, W_z is 0.

    Raises
    ------
    TypeError
        spec is not a NonLocalSpec, or rng is not a Generator.
    ValueError
        init is unknown.

    Examples
    --------
    >>> weights = init_weights(NonLocalSpec(4), np.random.default_rng(0))
    >>> weights["bn.weight"]  # a new block is the identity
    array([0., 0., 0., 0.])
    """
    check_spec(spec)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator; received {type(rng).__name__}")
    init_std(spec, "out.weight", init)  # raises for an unknown init
    weights = {}
    for name, shape in weight_shapes(spec).items():
        constant = starts_constant(spec, name, identity)
        if constant is None:
            weights[name] = rng.normal(0.0, init_std(spec, name, init), shape)
        else:
            weights[name] = np.full(shape, constant)
    return weights
