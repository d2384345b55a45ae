"""The non-local block z = BN(W_z y + b) + x and its vector-Jacobian product.

Inside this module arrays are channels-last, so that every product is rows times a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlcore.arguments import check_float, check_input
from nlcore.reference.compensated import column_sums, matmul
from nlcore.reference.extent import fold, unfold
from nlcore.reference.operation import operation, operation_vjp
from nlcore.reference.pooling import max_pool, max_pool_vjp
from nlcore.spec import NonLocalSpec
from nlcore.weights import float64_weights


@dataclass
class Stages:
    """Intermediate results of the block. B' and its positions are those that `fold` returns."""

    folded: np.ndarray  # (B', *positions, C), x after `fold`
    keys: np.ndarray  # (B', *positions, C): folded, pooled if subsampling is at the input
    theta: np.ndarray  # (B', N, D), or (B', N, C) for the Gaussian
    phi: np.ndarray  # (B', M, D), pooled
    g: np.ndarray  # (B', M, V), pooled
    index: dict[str, np.ndarray]  # "keys", "phi", "g" -> the indices that `max_pool` returns
    y: np.ndarray  # (B', N, V)
    out: np.ndarray  # (B, *positions, C), W_z y + b
    centred: np.ndarray | None = None  # (B, *positions, C), out - mean
    rstd: np.ndarray | None = None  # (C,), 1 / sqrt(var + eps)
    z: np.ndarray | None = None  # (B, *positions, C)


@np.errstate(all="ignore")  # NaN and infinity propagate without a warning
def block(
    spec: NonLocalSpec, weights: Mapping[str, Any], x: Any, training: bool = False
) -> np.ndarray:
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), computed in float64.

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to array
        Exactly the names and shapes of `nlcore.weight_shapes(spec)`.
    x : (B, C, *positions)
        Floating point. NaN and infinity propagate as in the formula.
    training : bool
        Whether batch normalization uses the mean and the biased variance of this batch, over B and
        all positions. If False, it uses the running statistics. They are never changed.

    Returns
    -------
    z : (B, C, *positions), float64 for every dtype of x

    Raises
    ------
    TypeError, ValueError
        See `nlcore.check_input` and `nlcore.check_weights`.

    Notes
    -----
    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.

    Examples
    --------
    >>> spec = NonLocalSpec(1, 1, ndim=1, pairwise="dot_product", batch_norm=False)
    >>> weights = {f"{name}.weight": np.ones((1, 1)) for name in ("theta", "phi", "g", "out")}
    >>> block(spec, weights, np.array([[[1.0, -2.0]]]))  # y_i = x_i (1 + 4) / 2
    array([[[ 3.5, -7. ]]])
    """
    w = float64_weights(spec, weights)
    stages = _forward(spec, w, _channels_last(spec, x, "x"), training)
    assert stages.z is not None
    return np.ascontiguousarray(np.moveaxis(stages.z, -1, 1))


@np.errstate(all="ignore")
def block_vjp(
    spec: NonLocalSpec, weights: Mapping[str, Any], x: Any, dz: Any, training: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """dx and dweights, the gradients of sum(dz * block(...)), computed in float64.

    Parameters
    ----------
    spec, weights, x, training
        See `block`. If training is True, the gradient goes through the mean and variance of the
        batch.
    dz : (B, C, *positions)
        Gradient with respect to z, floating point.

    Returns
    -------
    dx : (B, C, *positions)
    dweights : dict of str to array
        Gradients by name of every weight except the running statistics, which have none.

    Raises
    ------
    TypeError, ValueError
        See `block`. Also if dz does not have the shape of x.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore import NonLocalSpec, init_weights
    >>> spec = NonLocalSpec(4, ndim=1, batch_norm=False)
    >>> rng = np.random.default_rng(0)
    >>> weights = init_weights(spec, rng)  # the identity: W_z = 0
    >>> dz = np.ones((1, 4, 3))
    >>> dx, dweights = block_vjp(spec, weights, rng.normal(size=(1, 4, 3)), dz)
    >>> bool((dx == dz).all()), dweights["out.weight"].shape
    (True, (4, 2))
    """
    w = float64_weights(spec, weights)
    rows = _channels_last(spec, x, "x")  # (B, *positions, C)
    if np.shape(dz) != np.shape(x):
        raise ValueError(f"dz must have x's shape {np.shape(x)}; received shape {np.shape(dz)}")
    drows = _channels_last(spec, dz, "dz")
    stages = _forward(spec, w, rows, training)
    dout, grads = _batch_norm_vjp(spec, w, stages, drows, training)
    dfolded = fold(spec, dout)  # (B', *positions, C)
    dy, more = _linear_vjp(w, "out", stages.y, dfolded.reshape(*stages.y.shape[:2], -1))
    grads |= more
    dx, more = _embeddings_vjp(spec, w, stages, dy)
    dx = unfold(spec, dx, rows.shape) + drows  # (B, *positions, C)
    order = [name for name in w if name in grads | more]
    return np.ascontiguousarray(np.moveaxis(dx, -1, 1)), {n: (grads | more)[n] for n in order}


def _channels_last(spec: NonLocalSpec, x: Any, name: str) -> np.ndarray:
    """Check x (B, C, *positions) and return it as float64 (B, *positions, C)."""
    x = np.asarray(x)
    check_float(name, x.dtype.name)
    check_input(spec, x.shape, x.dtype.name)
    return np.ascontiguousarray(np.moveaxis(x.astype(np.float64), 1, -1))


def _forward(spec: NonLocalSpec, w: dict[str, np.ndarray], x: np.ndarray, training: bool) -> Stages:
    index: dict[str, np.ndarray] = {}

    def pooled(name: str, array: np.ndarray, at: str) -> np.ndarray:
        if spec.subsample is None or spec.subsample_at != at:
            return array
        values, index[name] = max_pool(array, spec.subsample)
        return values

    folded = fold(spec, x)  # (B', *positions, C)
    keys = pooled("keys", folded, "input")
    theta = _linear(w, "theta", folded) if spec.embedded else folded
    phi = pooled("phi", _linear(w, "phi", keys) if spec.embedded else keys, "embedding")
    g = pooled("g", _linear(w, "g", keys), "embedding")
    theta, phi, g = (a.reshape(len(a), -1, a.shape[-1]) for a in (theta, phi, g))
    y = operation(spec, theta, phi, g, w.get("f.weight"), w.get("f.bias"))  # (B', N, V)
    out = unfold(spec, _linear(w, "out", y), x.shape)  # (B, *positions, C)
    stages = Stages(folded, keys, theta, phi, g, index, y, out)
    if not spec.batch_norm:
        stages.z = out + x
        return stages
    if training:
        count = x.size // x.shape[-1]
        mean = column_sums(out) / count  # (C,)
        variance = column_sums((out - mean) ** 2) / count  # (C,)
    else:
        mean, variance = w["bn.running_mean"], w["bn.running_var"]
    stages.centred, stages.rstd = out - mean, 1 / np.sqrt(variance + spec.eps)
    stages.z = (stages.centred * (stages.rstd * w["bn.weight"]) + w["bn.bias"]) + x
    return stages


def _linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """x (..., C) times W^T, plus the bias if there is one -> (..., D)."""
    y = matmul(x, w[f"{name}.weight"].T)
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def _linear_vjp(
    w: dict[str, np.ndarray], name: str, x: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gradients of `_linear` from x (..., C) and dy (..., D): dx, and dweights by name."""
    rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (R, C), (R, D)
    grads = {f"{name}.weight": matmul(rows_dy.T, rows_x)}  # (D, C)
    if f"{name}.bias" in w:
        grads[f"{name}.bias"] = column_sums(rows_dy)  # (D,)
    return matmul(dy, w[f"{name}.weight"]).reshape(x.shape), grads


def _batch_norm_vjp(
    spec: NonLocalSpec, w: dict[str, np.ndarray], stages: Stages, dz: np.ndarray, training: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gradients of batch normalization from dz: d(W_z y + b), and dweights by name."""
    if stages.centred is None or stages.rstd is None:
        return dz, {}
    xhat = stages.centred * stages.rstd  # (B, *positions, C)
    grads = {"bn.weight": column_sums(dz * xhat), "bn.bias": column_sums(dz)}
    slope = w["bn.weight"] * stages.rstd  # (C,)
    if not training:
        return dz * slope, grads
    count = dz.size // dz.shape[-1]
    through_statistics = (grads["bn.bias"] + xhat * grads["bn.weight"]) / count
    return slope * (dz - through_statistics), grads


def _embeddings_vjp(
    spec: NonLocalSpec, w: dict[str, np.ndarray], stages: Stages, dy: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gradients of y from dy (B', N, V): dx of the folded x, without the residual, and dweights."""
    folded, keys = stages.folded, stages.keys
    d = operation_vjp(
        spec, stages.theta, stages.phi, stages.g, dy, w.get("f.weight"), w.get("f.bias")
    )
    grads: dict[str, np.ndarray] = {name: d[name] for name in ("f.weight", "f.bias") if name in w}

    def unpooled(name: str, like: np.ndarray, grad: np.ndarray) -> np.ndarray:
        shape = (*like.shape[:-1], grad.shape[-1])
        if name not in stages.index:
            return grad.reshape(shape)
        assert spec.subsample is not None
        position = stages.index[name]  # (B', *pooled, 1, D)
        pooled = grad.reshape(*position.shape[:-2], grad.shape[-1])
        return max_pool_vjp(shape, spec.subsample, position, pooled)

    dphi, dg = unpooled("phi", keys, d["phi"]), unpooled("g", keys, d["g"])
    dkeys, more = _linear_vjp(w, "g", keys, dg)
    grads |= more
    if spec.embedded:
        dtheta, more = _linear_vjp(w, "theta", folded, d["theta"].reshape(*folded.shape[:-1], -1))
        grads |= more
        dphi, more = _linear_vjp(w, "phi", keys, dphi)
        grads |= more
    else:
        dtheta = d["theta"].reshape(folded.shape)
    return dtheta + unpooled("keys", folded, dkeys + dphi), grads
