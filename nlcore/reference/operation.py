"""The non-local operation y_i = 1/C(x) sum_j f_ij g_j and its vector-Jacobian product."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.arguments import check_operation
from nlcore.reference.compensated import column_sums, matmul
from nlcore.reference.double_sum import backward, forward, projected
from nlcore.reference.pairwise import KIND, Rule
from nlcore.spec import NonLocalSpec


@np.errstate(all="ignore")  # NaN and infinity are data
def operation(
    spec: NonLocalSpec, theta: Any, phi: Any, g: Any, f_weight: Any = None, f_bias: Any = None
) -> np.ndarray:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, where C(x) is sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0.

    Parameters
    ----------
    spec : NonLocalSpec
        Determines the pairwise function, the normalization and the scale. Other fields are not
        read.
    theta : (B, N, D)
        Embeddings of the positions i, floating point.
    phi, g : (B, M, D), (B, M, V)
        Embeddings of the positions j, floating point.
    f_weight : (2D,)
        w_f, for concatenation only. The first D entries multiply theta_i and the last D phi_j.
    f_bias : (), optional
        b_f, for concatenation only. Default 0.

    Returns
    -------
    y : (B, N, V), float64

    Raises
    ------
    TypeError
        An argument is not floating point.
    ValueError
        The shapes are inconsistent.

    Notes
    -----
    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore import NonLocalSpec
    >>> theta, phi, g = np.array([[[2.0]]]), np.array([[[1.0], [3.0]]]), np.array([[[4.0], [8.0]]])
    >>> spec = NonLocalSpec(1, pairwise="dot_product")  # normalized by the number of j
    >>> operation(spec, theta, phi, g)  # (2·1·4 + 2·3·8) / 2
    array([[[28.]]])
    """
    a = _checked(spec, theta=theta, phi=phi, g=g, f_weight=f_weight, f_bias=f_bias)
    return forward(_rule(spec), *_factors(a), a["g"])


@np.errstate(all="ignore")
def operation_vjp(
    spec: NonLocalSpec,
    theta: Any,
    phi: Any,
    g: Any,
    dy: Any,
    f_weight: Any = None,
    f_bias: Any = None,
) -> dict[str, np.ndarray]:
    """Gradients of sum(dy * operation(...)) with respect to each argument of `operation`.

    The arguments are those of `operation` and dy (B, N, V). The result is a dict of float64 arrays
    "theta", "phi", "g" and, for concatenation, "f.weight" and "f.bias". They have the shapes of the
    arguments. With w_ij = f_ij / C_i and the logits t_ij as in `nlcore.reference.pairwise`:

        dg_j = sum_i w_ij dy_i,  dt_ij = f'(t_ij) / C_i (dy_i . g_j - [C is a sum] dy_i . y_i)

    Where C_i = 0, the gradient through y_i is 0.

    Raises
    ------
    TypeError, ValueError
        See `operation`.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore import NonLocalSpec
    >>> theta, phi, g = np.array([[[2.0]]]), np.array([[[1.0], [3.0]]]), np.array([[[4.0], [8.0]]])
    >>> spec = NonLocalSpec(1, pairwise="dot_product")
    >>> d = operation_vjp(spec, theta, phi, g, dy=np.ones((1, 1, 1)))
    >>> {name: value.ravel().tolist() for name, value in d.items()}
    {'theta': [14.0], 'phi': [4.0, 8.0], 'g': [1.0, 3.0]}
    """
    a = _checked(spec, theta=theta, phi=phi, g=g, dy=dy, f_weight=f_weight, f_bias=f_bias)
    dleft, dright, dg = backward(_rule(spec), *_factors(a), a["g"], a["dy"])
    if "f_weight" not in a:
        return {"theta": dleft, "phi": dright, "g": dg}
    d = a["theta"].shape[2]
    da, db = dleft[..., :1], dright[..., 4:]  # (B, N, 1), (B, M, 1)
    weight = a["f_weight"]
    return {
        "theta": da * weight[:d],  # (B, N, D)
        "phi": db * weight[d:],  # (B, M, D)
        "g": dg,
        "f.weight": np.concatenate(
            [
                matmul(da.reshape(1, -1), a["theta"].reshape(-1, d))[0],
                matmul(db.reshape(1, -1), a["phi"].reshape(-1, d))[0],
            ]
        ),  # (2D,)
        "f.bias": column_sums(da).reshape(()),
    }


def _rule(spec: NonLocalSpec) -> Rule:
    return Rule(KIND[spec.pairwise], spec.scale, spec.normalization == "sum")


def _checked(spec: NonLocalSpec, **given: Any) -> dict[str, np.ndarray]:
    """Check the arguments that are not None, and return them as C-contiguous float64 arrays."""
    arrays = {name: np.asarray(value) for name, value in given.items() if value is not None}
    shapes = {name: array.shape for name, array in arrays.items()}
    check_operation(spec, shapes, {n: a.dtype.name for n, a in arrays.items()}, mixed=True)
    # writable, because numba compiles a kernel once more for read-only arguments
    return {n: np.require(a, np.float64, ["C", "A", "W"]) for n, a in arrays.items()}


def _factors(a: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (B, N, K) and (B, M, K) such that t_ij is the dot product of their rows i and j.

    They are theta and phi except for concatenation, where
    t_ij = w_f . [theta_i, phi_j] + b_f = a_i + b_f + b_j. That is the dot product of
    (a_i, b_f, 1) and (1, 1, b_j), where a_i and b_j have two entries each, high and low.
    """
    theta, phi = a["theta"], a["phi"]
    if "f_weight" not in a:
        return theta, phi
    (b, n, d), m, weight = theta.shape, phi.shape[1], a["f_weight"]
    left, right = np.ones((b, n, 5)), np.ones((b, m, 5))  # (B, N, 5), (B, M, 5)
    left[..., 0:2] = projected(theta.reshape(-1, d), weight[:d]).reshape(b, n, 2)
    left[..., 2] = a.get("f_bias", 0.0)
    right[..., 3:5] = projected(phi.reshape(-1, d), weight[d:]).reshape(b, m, 2)
    return left, right
