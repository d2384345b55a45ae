"""The operation computed as its definition: a double sum over i and j, one i at a time.

Besides inputs and outputs, the forward direction allocates O(M) per thread and the backward
direction O(max(ROWS M, PAIRS)). A row of a kernel is a pair (b, i) or (b, j), with the index
b n + i or b m + j.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlcore.reference.compensated import dot, rounded, row_times_matrix, two_sum
from nlcore.reference.compiling import compiled
from nlcore.reference.pairwise import LINEAR, Rule, pair_row
from nlcore.reference.parallel import run

#: The backward direction stores the pairs of max(ROWS, PAIRS // M) rows i at a time.
ROWS, PAIRS = 64, 2**18


class _Given(NamedTuple):
    """The arrays that the backward direction reads."""

    theta: np.ndarray  # (B, N, D)
    phi: np.ndarray  # (B, M, D)
    phi_t: np.ndarray  # (B, D, M)
    g_t: np.ndarray  # (B, V, M)
    dy: np.ndarray  # (B, N, V)


@compiled
def _pairs(rule, theta_i, phi_t, f, slope):
    """Store f and slope (M,) of one i, and return its C(x)."""
    m = f.size
    high, low = np.zeros(m), np.zeros(m)
    row_times_matrix(theta_i, phi_t, high, low)
    pair_row(rule, high, low, f, slope)
    if not rule.by_sum:
        return float(m)
    total = rest = 0.0
    for j in range(m):
        # The sum of a linear f includes the low parts, because its terms may cancel.
        total, r = two_sum(total, high[j] if rule.kind == LINEAR else f[j])
        rest += r + low[j] if rule.kind == LINEAR else r
    total = rounded(total, rest)
    return rule.scale * total if rule.kind == LINEAR else total


@compiled
def _forward(start, stop, rule, theta, phi_t, g, y):
    n = theta.shape[1]
    m, v = g.shape[1:]
    f, slope = np.empty(m), np.empty(m)
    high, low = np.empty(v), np.empty(v)
    for row in range(start, stop):
        b, i = row // n, row % n
        c = _pairs(rule, theta[b, i], phi_t[b], f, slope)
        if c != 0.0:
            high[:] = 0.0
            low[:] = 0.0
            row_times_matrix(f, g[b], high, low)
            for k in range(v):
                y[b, i, k] = rounded(high[k], low[k]) / c


@compiled
def _row_vjp(rule, given, b, i, dtheta_i, w, dt):
    """For one i: store dtheta_i (D,), w_j = f_j / C and dt_j = dL/dt_j, both (M,)."""
    m, phi, dy_i = w.size, given.phi[b], given.dy[b, i]
    f, slope = np.empty(m), np.empty(m)
    c = _pairs(rule, given.theta[b, i], given.phi_t[b], f, slope)
    high, low = np.zeros(phi.shape[1]), np.zeros(phi.shape[1])
    if c == 0.0:
        w[:] = 0.0
        dt[:] = 0.0
        dtheta_i[:] = 0.0
        return
    dp, dp_low = np.zeros(m), np.zeros(m)  # dL/d(f_j / C) = dy_i . g_j
    row_times_matrix(dy_i, given.g_t[b], dp, dp_low)
    delta = 0.0  # sum_j w_j dp_j = dy_i . y_i
    if rule.by_sum:
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
        dtheta_i[k] = rounded(high[k], low[k])


@compiled
def _vjp_rows(start, stop, first, rule, given, dtheta, w, dt):
    """Store dtheta, w and dt of the rows first + start to first + stop.

    Row 0 of w and dt is the row `first` of dtheta.
    """
    n = given.theta.shape[1]
    for r in range(start, stop):
        b, i = (first + r) // n, (first + r) % n
        _row_vjp(rule, given, b, i, dtheta[b, i], w[r], dt[r])


@compiled
def _vjp_columns(start, stop, first, given, w, dt, dphi, dg):
    """Add the contributions of the rows i in w and dt to dphi and dg.

    Row 0 of w and dt is the row `first` of theta. dphi and dg are pairs (high, low). Each (b, j)
    adds its rows i in order, so that no two threads write to one sum.
    """
    n, m = given.theta.shape[1], w.shape[1]
    begin = first // n * m
    for column in range(begin + start, begin + stop):
        b, j = column // m, column % m
        i0, i1 = max(first, b * n), min(first + len(w), (b + 1) * n)
        dt_j, w_j = dt[i0 - first : i1 - first, j].copy(), w[i0 - first : i1 - first, j].copy()
        here = slice(i0 - b * n, i1 - b * n)
        row_times_matrix(dt_j, given.theta[b, here], dphi[0][b, j], dphi[1][b, j])
        row_times_matrix(w_j, given.dy[b, here], dg[0][b, j], dg[1][b, j])


@compiled
def _round(start, stop, high, low):
    for row in range(start, stop):
        for k in range(high.shape[1]):
            high[row, k] = rounded(high[row, k], low[row, k])


@compiled
def projected(embedding, weight):
    """Dot products of the rows of embedding (P, D) with weight (D,): (P, 2), high and low."""
    out = np.empty((embedding.shape[0], 2))
    for p in range(embedding.shape[0]):
        out[p, 0], out[p, 1] = dot(embedding[p], weight)
    return out


def forward(rule: Rule, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> np.ndarray:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D) and g (B, M, V), all C-contiguous."""
    (batch, n, d), (m, v) = theta.shape, g.shape[1:]
    y = np.zeros((batch, n, v))
    work = batch * n * m * (d + v)
    run(_forward, batch * n, work, rule, theta, _transposed(phi), g, y)
    return y


def backward(
    rule: Rule, theta: np.ndarray, phi: np.ndarray, g: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dtheta (B, N, D), dphi (B, M, D) and dg (B, M, V) from dy (B, N, V)."""
    (batch, n, d), (m, v) = theta.shape, g.shape[1:]
    given = _Given(theta, phi, _transposed(phi), _transposed(g), dy)
    dtheta = np.empty_like(theta)
    dphi = np.zeros_like(phi), np.zeros_like(phi)  # high and low
    dg = np.zeros_like(g), np.zeros_like(g)
    chunk = min(batch * n, max(ROWS, PAIRS // m))
    for first in range(0, batch * n, chunk):  # rows (b, i) in order
        rows = min(chunk, batch * n - first)
        w, dt = np.empty((rows, m)), np.empty((rows, m))
        work = rows * m * (d + v)
        run(_vjp_rows, rows, 2 * work, first, rule, given, dtheta, w, dt)
        items = (first + rows - 1) // n - first // n + 1  # batch items that this chunk touches
        run(_vjp_columns, items * m, work, first, given, w, dt, dphi, dg)
    for high, low in (dphi, dg):
        run(_round, batch * m, high.size, *(a.reshape(batch * m, -1) for a in (high, low)))
    return dtheta, dphi[0], dg[0]


def _transposed(a: np.ndarray) -> np.ndarray:
    """(B, M, D) -> (B, D, M)."""
    return np.ascontiguousarray(a.transpose(0, 2, 1))
