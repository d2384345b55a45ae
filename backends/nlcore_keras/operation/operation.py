"""The bare non-local operation in keras.ops, on embeddings (B, N, D), (B, M, D), (B, M, V).

Between the embeddings and y everything is float32 at least: logits, normalizers, prefix sums.
Products are written with @: on the PyTorch engine keras.ops.matmul computes float64 in float32.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nlcore import NonLocalSpec
from nlcore_keras.operation.concatenation import concatenation
from nlcore_keras.operation.precision import divided, float_name, sum_dtype

#: Elements of f that are held at once, over the batch (at least one query of each item); of each
#: item, where the batch's size is unknown.
CHUNK = 1 << 22


def non_local_operation(
    spec: NonLocalSpec, theta: Any, phi: Any, g: Any, f_weight: Any = None, f_bias: Any = None
) -> Any:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, with C(x) = sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0. The dot product and the concatenation form no N x M array; the
    Gaussians take the queries in chunks of a fixed number of pairs where N and M are static.

    Parameters
    ----------
    spec : NonLocalSpec
        Gives the pairwise function, the normalization and the scale.
    theta, phi, g : (B, N, D), (B, M, D), (B, M, V)
        Embeddings of the positions i, of the positions j, and the values, of one dtype.
    f_weight, f_bias : (2D,), ()
        w_f, first D for theta, last D for phi, and b_f (default 0): concatenation's only.

    Returns
    -------
    y : (B, N, V), of the dtype of g

    Raises
    ------
    TypeError
        Arguments that are not floating-point tensors of one dtype.
    ValueError
        Shapes that do not go together, or f_weight with another pairwise function.

    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.
    """
    _check(spec, theta, phi, g, f_weight, f_bias)
    dtype = sum_dtype(g.dtype)
    by_sum = spec.normalization == "sum"
    if spec.pairwise == "concatenation":
        width = theta.shape[2]
        a = project(theta, f_weight[:width], f_bias)  # (B, N)
        return concatenation(a, project(phi, f_weight[width:]), g, by_sum)
    attend = _dot_product if spec.pairwise == "dot_product" else _gaussian
    queries, keys, values = (ops.cast(array, dtype) for array in (theta, phi, g))
    return ops.cast(attend(queries, keys, values, spec.scale, by_sum), g.dtype)


def project(rows: Any, weight: Any, bias: Any = None) -> Any:
    """rows (B, N, D) times weight (D,) plus bias () -> (B, N), a logit's share in its dtype."""
    dtype = sum_dtype(rows.dtype)
    logits = (ops.cast(rows, dtype) @ ops.cast(ops.expand_dims(weight, 1), dtype))[..., 0]
    return logits if bias is None else logits + ops.cast(bias, dtype)


def _dot_product(theta: Any, phi: Any, g: Any, scale: float, by_sum: bool) -> Any:
    """s theta (phi^T g) / C, the products associated so that none is N x M -> (B, N, V)."""
    share = scale / ops.cast(ops.shape(phi)[1], g.dtype)
    phi_t = ops.transpose(phi, (0, 2, 1)) * share  # (B, D, M): with 1/M, C is 1 or the mean of f
    y = theta @ (phi_t @ g)  # (B, D, V), then (B, N, V)
    if not by_sum:
        return y
    return divided(y, theta @ ops.sum(phi_t, axis=2, keepdims=True))


def _gaussian(theta: Any, phi: Any, g: Any, scale: float, by_sum: bool) -> Any:
    """sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M, t = theta_i . phi_j -> (B, N, V)."""
    phi_t = ops.transpose(phi, (0, 2, 1))  # (B, D, M)
    count = ops.cast(ops.shape(phi)[1], g.dtype)

    def attend(queries: Any, phi_t: Any, g: Any) -> Any:  # (B, R, D) -> (B, R, V)
        logits = (queries @ phi_t) * scale  # (B, R, M)
        if not by_sum:
            return (ops.exp(logits) / count) @ g
        # written out: keras.ops.softmax warns where M is 1
        weights = ops.exp(logits - ops.stop_gradient(ops.max(logits, axis=2, keepdims=True)))
        # divided before the product, so that the backward direction needs no y of its own
        return (weights / ops.sum(weights, axis=2, keepdims=True)) @ g

    (batch, n, _), m = theta.shape, phi.shape[1]
    if not (isinstance(n, int) and isinstance(m, int)):  # None, or a symbol
        return attend(theta, phi_t, g)
    rows = max(1, CHUNK // ((batch if isinstance(batch, int) else 1) * m))
    if rows >= n:
        return attend(theta, phi_t, g)
    recomputed = keras.remat(attend)  # in the backward direction, so that no chunk's f is kept
    chunks = -(-n // rows)
    rows = -(-n // chunks)  # of equal size, so that padding adds less than one row a chunk
    batch = ops.shape(theta)[0]
    padded = ops.pad(theta, [[0, 0], [0, chunks * rows - n], [0, 0]])
    split = ops.reshape(padded, (batch, chunks, rows, theta.shape[2]))
    y = ops.map(
        lambda queries: recomputed(queries, phi_t, g), ops.transpose(split, (1, 0, 2, 3))
    )  # (chunks, B, R, V)
    y = ops.transpose(y, (1, 0, 2, 3))
    return ops.reshape(y, (batch, chunks * rows, g.shape[2]))[:, :n]


def _check(spec: NonLocalSpec, theta: Any, phi: Any, g: Any, f_weight: Any, f_bias: Any) -> None:
    if (f_weight is None) == (spec.pairwise == "concatenation"):
        raise ValueError(
            "f_weight (2D,) goes with pairwise='concatenation' and with no other; received "
            f"f_weight of type {type(f_weight).__name__} with pairwise={spec.pairwise!r}"
        )
    if f_bias is not None and f_weight is None:
        raise ValueError(f"f_bias is the concatenation's; received pairwise={spec.pairwise!r}")
    given = {"theta": theta, "phi": phi, "g": g, "f_weight": f_weight, "f_bias": f_bias}
    given = {name: array for name, array in given.items() if array is not None}
    dtypes = {name: float_name(name, array) for name, array in given.items()}
    if len(set(dtypes.values())) != 1:
        raise TypeError(f"arguments must have one dtype; received {dtypes}")
    shapes = {name: tuple(array.shape) for name, array in given.items()}
    if not _fit(shapes["theta"], shapes["phi"], shapes["g"]):
        raise ValueError(
            "theta, phi and g must have shapes (B, N, D), (B, M, D) and (B, M, V) with no axis "
            f"of size 0; received {shapes}"
        )
    for name, expected in (("f_weight", (2 * shapes["theta"][2],)), ("f_bias", ())):
        if name in shapes and shapes[name] != expected:
            raise ValueError(f"{name} must have shape {expected}; received {shapes}")


def _fit(theta: tuple, phi: tuple, g: tuple) -> bool:
    if not len(theta) == len(phi) == len(g) == 3 or 0 in theta + phi + g:
        return False
    equal = [*zip(theta, phi, strict=True)][::2] + [*zip(phi, g, strict=True)][:2]
    return all(one == other or None in (one, other) for one, other in equal)
