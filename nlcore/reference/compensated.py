"""Compensated sums of products: accurate as if computed in twice float64 and then rounded once.

The algorithm is Dot2 of Ogita, Rump, Oishi 2005, "Accurate sum and dot product", SIAM J. Sci.
Comput. 26(6), doi 10.1137/030601818. The error of a sum of n products is
u |result| + O(n^2 u^2) sum |terms| with u = 2^-53. Loops add in a fixed order and vectorise across
outputs. So no sum has to be reordered, as fastmath would do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from nlcore.reference.compiling import compiled, inlined
from nlcore.reference.parallel import run

#: Columns per tile. The running sums of a tile and four rows of the matrix fit into the L1 cache.
TILE = 256


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once (fused multiply-add)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


fma: Any = _fma  # type checkers do not accept a call of an intrinsic


@inlined
def two_sum(a, b):
    """(s, e), where s is a + b rounded and s + e = a + b exactly."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


@inlined
def rounded(high, low):
    """high + low, or high alone if it is infinite or NaN, because low is meaningless then."""
    return high + low if abs(high) < np.inf else high


@compiled
def row_times_matrix(row, matrix, high, low):
    """Add row (K,) @ matrix (K, Q) to high + low, both (Q,), in place."""
    terms, columns = matrix.shape
    for start in range(0, columns, TILE):
        stop = min(start + TILE, columns)
        h, e = high[start:stop], low[start:stop]  # (TILE,)
        k = 0
        while k + 4 <= terms:  # four terms per pass, so sums are loaded and stored less often
            a0, a1, a2, a3 = row[k], row[k + 1], row[k + 2], row[k + 3]
            b0, b1 = matrix[k, start:stop], matrix[k + 1, start:stop]
            b2, b3 = matrix[k + 2, start:stop], matrix[k + 3, start:stop]
            for q in range(stop - start):
                s, c = h[q], e[q]
                p = a0 * b0[q]
                c += fma(a0, b0[q], -p)
                s, r = two_sum(s, p)
                c += r
                p = a1 * b1[q]
                c += fma(a1, b1[q], -p)
                s, r = two_sum(s, p)
                c += r
                p = a2 * b2[q]
                c += fma(a2, b2[q], -p)
                s, r = two_sum(s, p)
                c += r
                p = a3 * b3[q]
                c += fma(a3, b3[q], -p)
                s, r = two_sum(s, p)
                h[q] = s
                e[q] = c + r
            k += 4
        while k < terms:
            a0 = row[k]
            b0 = matrix[k, start:stop]
            for q in range(stop - start):
                p = a0 * b0[q]
                s, r = two_sum(h[q], p)
                e[q] += fma(a0, b0[q], -p) + r
                h[q] = s
            k += 1


@compiled
def dot(row, column):
    """(high, low) with high + low = sum_k row[k] column[k]. low is 0 if high is not finite."""
    high = low = 0.0
    for k in range(row.size):
        p = row[k] * column[k]
        high, r = two_sum(high, p)
        low += fma(row[k], column[k], -p) + r
    if abs(high) < np.inf:
        return high, low
    return high, 0.0


@compiled
def _matmul(start, stop, a, b, out):
    high, low = np.empty(b.shape[1]), np.empty(b.shape[1])
    for i in range(start, stop):
        high[:] = 0.0
        low[:] = 0.0
        row_times_matrix(a[i], b, high, low)
        for q in range(b.shape[1]):
            out[i, q] = rounded(high[q], low[q])


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (..., K) @ b (K, Q) -> (..., Q), where each element is a compensated sum."""
    rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])  # (P, K)
    out = np.empty((len(rows), b.shape[1]))  # (P, Q)
    run(_matmul, len(rows), rows.size * b.shape[1], rows, np.ascontiguousarray(b), out)
    return out.reshape(*a.shape[:-1], b.shape[-1])


def column_sums(a: np.ndarray) -> np.ndarray:
    """Sums of a (..., Q) over all axes but the last -> (Q,)."""
    rows = a.reshape(-1, a.shape[-1])  # (P, Q)
    return matmul(np.ones((1, rows.shape[0])), rows)[0]
