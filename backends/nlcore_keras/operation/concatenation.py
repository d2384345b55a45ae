"""Concatenation: w_f . [theta_i, phi_j] + b_f = a_i + b_j, so sums over j need no N x M array.

With b sorted descending, G_k = g_1 + ... + g_k, and k_i the number of b_j > -a_i,

    sum_j ReLU(a_i + b_j) g_j = (a_i + b_k) G_k + sum_{m<k} (b_m - b_{m+1}) G_m    (1)
                              = a_i G_k + sum_{m<=k} b_m g_m                       (2)

(1) gives the value: every factor of a G is >= 0, so nothing cancels that does not cancel on the
left. (2) gives the derivatives: in the derivatives of (1) by b, sums over many keys cancel.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nlcore_keras.operation.precision import divided, sum_dtype


def concatenation(a: Any, b: Any, g: Any, by_sum: bool) -> Any:
    """y_i = 1/C(x) sum_j ReLU(a_i + b_j) g_j from a (B, N), b (B, M), g (B, M, V) -> (B, N, V).

    a and b have the dtype of sums. C(x) is the sum of the ReLUs or M; where that sum is 0, y_i = 0
    with no gradient.
    """
    values = ops.cast(g, a.dtype)  # the dtype of sums
    if not by_sum:
        return ops.cast(pair_sums(a, b, values) / ops.cast(ops.shape(g)[1], a.dtype), g.dtype)
    ones = ops.ones_like(values[:, :, :1])  # (B, M, 1)
    sums = pair_sums(a, b, ops.concatenate([values, ones], axis=2))  # (B, N, V + 1)
    return ops.cast(divided(sums[:, :, :-1], sums[:, :, -1:]), g.dtype)


def concatenation_weights(a: Any, b: Any, by_sum: bool) -> Any:
    """w (B, R, M) of a few queries' shares a (B, R) and the keys' shares b (B, M)."""
    f = ops.relu(ops.expand_dims(a, 2) + ops.expand_dims(b, 1))  # (B, R, M)
    if by_sum:
        return divided(f, ops.sum(f, axis=2, keepdims=True))
    return f / ops.cast(ops.shape(b)[1], b.dtype)


def logit_share(rows: Any, weight: Any, bias: Any = None) -> Any:
    """rows (B, N, D) times weight (D,) plus bias () -> (B, N), a_i or b_j in the dtype of sums."""
    dtype = sum_dtype(rows.dtype)
    logits = (ops.cast(rows, dtype) @ ops.cast(ops.expand_dims(weight, 1), dtype))[..., 0]  # (B, N)
    return logits if bias is None else logits + ops.cast(bias, dtype)


def pair_sums(a: Any, b: Any, g: Any) -> Any:
    """sum_j ReLU(a_i + b_j) g_j from a (B, N), b (B, M), g (B, M, V) -> (B, N, V)."""
    # TensorFlow's sort has no place for a NaN, so NaNs are taken out here and put back below
    undefined = ops.logical_or(ops.isnan(a), ops.any(ops.isnan(b), axis=1, keepdims=True))  # (B, N)
    a, b = (ops.where(ops.isnan(array), ops.zeros_like(array), array) for array in (a, b))
    unbounded = ops.logical_not(ops.all(ops.isfinite(g), axis=1, keepdims=True))  # (B, 1, V)
    b, order = _descending(b)  # (B, M), (B, M)
    g = _rows(g, order)  # (B, M, V)
    count = _count(a, b)  # (B, N): k_i, a row of the tables below, whose row 0 is the empty sum
    prefix = _table(g)  # (B, M + 1, V): G_k
    active = _rows(prefix, count)  # (B, N, V): G_k of each i

    a = ops.where(count > 0, a, ops.zeros_like(a))  # an infinite a_i times an empty sum is 0
    weighted = _table(ops.expand_dims(b, 2) * g)  # (B, M + 1, V): the sum in (2)
    by_parts = ops.expand_dims(a, 2) * active + _rows(weighted, count)  # (B, N, V)

    fixed = ops.stop_gradient
    a, b, prefix, active = fixed(a), fixed(b), fixed(prefix), fixed(active)
    # b_1, by which JAX knows the size also for a symbolic M
    largest = ops.max(b, axis=1, keepdims=True, initial=-float("inf"))  # (B, 1)
    before = ops.concatenate([largest, b], axis=1)[:, :-1]  # (B, M): b_1, b_1, b_2, ...
    # 0, b_1 - b_2, ...; also 0 between equal infinities
    gaps = ops.where(before == b, ops.zeros_like(b), before - b)  # (B, M)
    steps = _table(ops.expand_dims(gaps, 2) * prefix[:, :-1])  # (B, M + 1, V): the sum in (1)
    last = _elements(b, ops.maximum(count - 1, 0))  # (B, N): b_k
    lead = ops.where(count > 0, a + last, ops.zeros_like(a))  # (B, N)
    value = ops.expand_dims(lead, 2) * active + _rows(steps, count)  # (B, N, V)

    # an infinite or NaN g_j makes its column NaN, because f_ij g_j is NaN wherever f_ij = 0
    undefined = ops.logical_or(ops.expand_dims(undefined, 2), unbounded)  # (B, N, V)
    # The root is NaN or 0. A converter to ONNX would multiply a constant NaN of a `where` with 0.
    value = value + ops.sqrt(-ops.cast(undefined, value.dtype))
    derivatives = by_parts - fixed(by_parts)  # (B, N, V): 0, or NaN where (2) is infinite
    return value + ops.where(ops.isfinite(fixed(by_parts)), derivatives, ops.zeros_like(value))


def _descending(b: Any) -> tuple[Any, Any]:
    """b (B, M) in descending order, and where each element was."""
    if keras.backend.backend() == "torch":  # its stable sort is slower, and ONNX has none
        return ops.top_k(b, b.shape[1])
    order = ops.argsort(-ops.stop_gradient(b), axis=1)
    return _elements(b, order), order


def _count(a: Any, b: Any) -> Any:
    """How many b_j (B, M), which descend, are > -a_i (B, N) -> (B, N), by bisection."""
    # M may be unknown in a compiled graph, and is a symbol in an exported one
    steps = b.shape[1].bit_length() if isinstance(b.shape[1], int) else 31
    size = ops.shape(b)[1]

    powers = ops.convert_to_tensor([1 << k for k in reversed(range(steps))], dtype="int32")

    def halve(step: Any, count: Any) -> Any:  # (B, N) -> (B, N)
        more = count + ops.take(powers, step)
        next_b = _elements(b, ops.minimum(more, size) - 1)
        return ops.where(ops.logical_and(more <= size, next_b > -a), more, count)

    # a loop in the graph: XLA would compute a written-out one again for each of the V columns
    return ops.fori_loop(0, steps, halve, ops.zeros_like(a, dtype="int32"))


def _table(terms: Any) -> Any:
    """Prefix sums of terms (B, M, V) -> (B, M + 1, V), beginning with the empty one."""
    terms = ops.pad(terms, [[0, 0], [1, 0], [0, 0]])  # (B, M + 1, V)
    sums = ops.cumsum(terms, axis=1)
    if sums.dtype != terms.dtype:
        # keras.ops.cumsum makes float64 float32 on PyTorch, so these are sums of 2, 4, 8, ... terms
        sums, reach = terms, 1
        while reach < terms.shape[1]:
            sums = sums + ops.pad(sums[:, :-reach], [[0, 0], [reach, 0], [0, 0]])
            reach *= 2
    return sums


def _rows(table: Any, index: Any) -> Any:
    """Rows (B, N, V) of table (B, R, V) at index (B, N)."""
    if not isinstance(table.shape[1], (int, type(None))):
        # JAX refuses to take rows where a symbolic R may be 0, so there is one more
        table = ops.pad(table, [[0, 0], [0, 1], [0, 0]])
    # one flat gather, because take_along_axis on all V columns took 15 times as long on TensorFlow
    batch, size = ops.shape(table)[:2]
    start = ops.expand_dims(ops.arange(batch, dtype="int32") * size, 1)  # (B, 1)
    flat = ops.reshape(table, (-1, table.shape[2]))  # (B R, V)
    return ops.take(flat, ops.cast(index, "int32") + start, axis=0)


def _elements(array: Any, index: Any) -> Any:
    """Elements (B, N) of array (B, R) at index (B, N)."""
    return _rows(ops.expand_dims(array, 2), index)[:, :, 0]
