"""The non-local operation y_i = 1/C(x) sum_j f_ij g_j and its vector-Jacobian product.

The literal double sum over i and j, streamed over i: scratch is O(M) a thread in the forward
direction and O(ROWS M) backward, beyond the inputs and outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from nlcore.compensated import column_sums, dot, matmul, rounded, row_times_matrix, two_sum
from nlcore.pairwise import KIND, LINEAR, pair_row
from nlcore.spec import NonLocalSpec, check_float

#: Backward, the pairs of at least ROWS rows i, or of as many as make PAIRS, are held at once.
ROWS, PAIRS = 64, 2**18


@njit(cache=True)
def _pairs(kind, scale, by_sum, theta_i, phi_t, f, slope):
    """Fill f and slope (M,) for one i and return C."""
    m = f.size
    high, low = np.zeros(m), np.zeros(m)
    row_times_matrix(theta_i, phi_t, high, low)
    pair_row(kind, scale, by_sum, high, low, f, slope)
    if not by_sum:
        return float(m)
    total = rest = 0.0
    for j in range(m):
        # a linear f is summed with its low part: C may be small beside its terms
        total, r = two_sum(total, high[j] if kind == LINEAR else f[j])
        rest += r + low[j] if kind == LINEAR else r
    total = rounded(total, rest)
    return scale * total if kind == LINEAR else total


@njit(parallel=True, cache=True)
def _forward(kind, scale, by_sum, theta, phi_t, g):
    batch, n, _ = theta.shape
    m, v = g.shape[1:]
    y = np.zeros((batch, n, v))
    for row in prange(batch * n):
        b, i = row // n, row % n
        f, slope = np.empty(m), np.empty(m)
        c = _pairs(kind, scale, by_sum, theta[b, i], phi_t[b], f, slope)
        if c != 0.0:
            high, low = np.zeros(v), np.zeros(v)
            row_times_matrix(f, g[b], high, low)
            for k in range(v):
                y[b, i, k] = rounded(high[k], low[k]) / c
    return y


@njit(cache=True)
def _row_vjp(kind, scale, by_sum, theta_i, phi_t, phi, g_t, dy_i, w, dt):
    """For one i: w_j = f_j / C, dt_j = dL/dt_j (M,); returns dtheta_i (D,)."""
    m = w.size
    f, slope = np.empty(m), np.empty(m)
    c = _pairs(kind, scale, by_sum, theta_i, phi_t, f, slope)
    high, low = np.zeros(phi.shape[1]), np.zeros(phi.shape[1])
    if c == 0.0:
        w[:] = 0.0
        dt[:] = 0.0
        return high
    dp, dp_low = np.zeros(m), np.zeros(m)  # dL/d(f_j / C) = dy_i . g_j
    row_times_matrix(dy_i, g_t, dp, dp_low)
    delta = 0.0  # sum_j w_j dp_j = dy_i . y_i
    if by_sum:
        delta, rest = dot(f, dp)
        for j in range(m):
            rest += f[j] * dp_low[j]
        delta = rounded(delta, rest) / c
    for j in range(m):
        w[j] = f[j] / c
        d, r = two_sum(dp[j], -delta)
        dt[j] = slope[j] * (rounded(d, r + dp_low[j]) / c)
    row_times_matrix(dt, phi, high, low)
    for k in range(high.size):
        high[k] = rounded(high[k], low[k])
    return high


@njit(parallel=True, cache=True)
def _backward(kind, scale, by_sum, theta, phi, phi_t, g, g_t, dy):
    batch, n, d = theta.shape
    m, v = g.shape[1:]
    dtheta = np.empty_like(theta)
    dphi, dphi_low = np.zeros_like(phi), np.zeros_like(phi)
    dg, dg_low = np.zeros_like(g), np.zeros_like(g)
    total = batch * n
    chunk = min(total, max(ROWS, PAIRS // m))
    w, dt = np.empty((chunk, m)), np.empty((chunk, m))
    for start in range(0, total, chunk):  # rows (b, i) in order
        stop = min(start + chunk, total)
        for row in prange(start, stop):
            b, i, r = row // n, row % n, row - start
            dtheta[b, i] = _row_vjp(
                kind, scale, by_sum, theta[b, i], phi_t[b], phi[b], g_t[b], dy[b, i], w[r], dt[r]
            )
        first, last = start // n, (stop - 1) // n
        for column in prange(first * m, (last + 1) * m):
            # each (b, j) adds its i in order, whatever the threads: they share no sum
            b, j = column // m, column % m
            i0, i1 = max(start, b * n), min(stop, (b + 1) * n)
            dt_j, w_j = dt[i0 - start : i1 - start, j].copy(), w[i0 - start : i1 - start, j].copy()
            here = slice(i0 - b * n, i1 - b * n)
            row_times_matrix(dt_j, theta[b, here], dphi[b, j], dphi_low[b, j])
            row_times_matrix(w_j, dy[b, here], dg[b, j], dg_low[b, j])
    for column in prange(batch * m):
        b, j = column // m, column % m
        for k in range(d):
            dphi[b, j, k] = rounded(dphi[b, j, k], dphi_low[b, j, k])
        for k in range(v):
            dg[b, j, k] = rounded(dg[b, j, k], dg_low[b, j, k])
    return dtheta, dphi, dg


@njit(cache=True)
def _projected(embedding, weight):
    """The dot product of each row of (P, D) with weight (D,), as (P, 2): high, low."""
    out = np.empty((embedding.shape[0], 2))
    for p in range(embedding.shape[0]):
        out[p, 0], out[p, 1] = dot(embedding[p], weight)
    return out


def _sum_as_product(theta, phi, f_weight, f_bias):
    """Embeddings whose products are w_f . [theta_i, phi_j] + b_f: (a, b_f, 1, 1) . (1, 1, 1, b)."""
    b, n, d = theta.shape
    m = phi.shape[1]
    left, right = np.ones((b, n, 5)), np.ones((b, m, 5))  # (B, N, 5), (B, M, 5)
    left[..., 0:2] = _projected(theta.reshape(-1, d), f_weight[:d]).reshape(b, n, 2)
    left[..., 2] = f_bias
    right[..., 3:5] = _projected(phi.reshape(-1, d), f_weight[d:]).reshape(b, m, 2)
    return left, right


def _checked(spec: NonLocalSpec, **arrays: Any) -> dict[str, np.ndarray]:
    """The operation's arguments as C-contiguous float64, shapes checked against each other."""
    out = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        check_float(name, array.dtype.name)
        # writable: numba would compile everything once more for a read-only array
        out[name] = np.require(array, np.float64, ["C", "A", "W"])
    theta, phi, g = out["theta"], out["phi"], out["g"]
    shapes = f"theta {theta.shape}, phi {phi.shape}, g {g.shape}"
    if not (
        theta.ndim == phi.ndim == g.ndim == 3
        and theta.shape[0] == phi.shape[0] == g.shape[0]
        and theta.shape[2] == phi.shape[2]
        and phi.shape[1] == g.shape[1]
        and 0 not in theta.shape + phi.shape + g.shape
    ):
        raise ValueError(
            "theta, phi and g must have shapes (B, N, D), (B, M, D) and (B, M, V) with no axis "
            f"of size 0; received {shapes}"
        )
    expected = {
        "f_weight": (2 * theta.shape[2],),
        "f_bias": (),
        "dy": (*theta.shape[:2], g.shape[2]),
    }
    for name, shape in expected.items():
        if name in out and out[name].shape != shape:
            raise ValueError(
                f"{name} must have shape {shape} beside {shapes}; received shape {out[name].shape}"
            )
    return out


def _pair_weights(spec: NonLocalSpec, f_weight: Any, f_bias: Any) -> dict[str, Any]:
    """f.weight and f.bias where the spec has them, refused where it has not."""
    if (f_weight is None) == (spec.pairwise == "concatenation"):
        raise ValueError(
            "f_weight (2D,) goes with pairwise='concatenation' and with no other; "
            f"received f_weight={f_weight!r} with pairwise={spec.pairwise!r}"
        )
    if f_bias is not None and f_weight is None:
        raise ValueError(f"f_bias is the concatenation's; received pairwise={spec.pairwise!r}")
    if f_weight is None:
        return {}
    return {"f_weight": f_weight, "f_bias": 0.0 if f_bias is None else f_bias}


@np.errstate(all="ignore")  # NaN and infinity are data
def operation(
    spec: NonLocalSpec, theta: Any, phi: Any, g: Any, f_weight: Any = None, f_bias: Any = None
) -> np.ndarray:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, with C(x) = sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0.

    Parameters
    ----------
    spec : NonLocalSpec
        Gives the pairwise function, the normalization and the scale.
    theta, phi, g : (B, N, D), (B, M, D), (B, M, V)
        Embeddings of the positions i, of the positions j, and the values; floating point.
    f_weight, f_bias : (2D,), ()
        w_f, first D for theta, last D for phi, and b_f (default 0): concatenation's only.

    Returns
    -------
    y : (B, N, V), float64

    Raises
    ------
    TypeError, ValueError
        Arrays that are not floating point, or whose shapes do not go together.

    Notes
    -----
    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.
    """
    a = _checked(spec, theta=theta, phi=phi, g=g, **_pair_weights(spec, f_weight, f_bias))
    left, right = a["theta"], a["phi"]
    if spec.pairwise == "concatenation":
        left, right = _sum_as_product(left, right, a["f_weight"], a["f_bias"])
    right_t = np.ascontiguousarray(right.transpose(0, 2, 1))  # (B, D, M)
    return _forward(
        KIND[spec.pairwise], spec.scale, spec.normalization == "sum", left, right_t, a["g"]
    )


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
    """Gradients of sum(dy * operation(...)) with respect to each argument.

    Takes `operation`'s arguments and dy (B, N, V). Returns float64 arrays "theta", "phi", "g"
    and, for concatenation, "f.weight" and "f.bias", shaped like the arguments. With
    w_ij = f_ij / C_i and t_ij as in `nlcore.pairwise`:

        dg_j = sum_i w_ij dy_i,  dt_ij = f'(t_ij) / C_i (dy_i . g_j - [C is a sum] dy_i . y_i)

    Where C(x) = 0 the row i has no gradient.
    """
    given = _pair_weights(spec, f_weight, f_bias)
    a = _checked(spec, theta=theta, phi=phi, g=g, dy=dy, **given)
    left, right = a["theta"], a["phi"]
    if given:
        left, right = _sum_as_product(left, right, a["f_weight"], a["f_bias"])
    dleft, dright, dg = _backward(
        KIND[spec.pairwise],
        spec.scale,
        spec.normalization == "sum",
        left,
        right,
        np.ascontiguousarray(right.transpose(0, 2, 1)),  # (B, D, M)
        a["g"],
        np.ascontiguousarray(a["g"].transpose(0, 2, 1)),  # (B, V, M)
        a["dy"],
    )
    if not given:
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
