"""The concatenation, f = ReLU(a_i + b_j) with a_i + b_j = w_f . [theta_i, phi_j] + b_f.

Its sums over j need no N x M array. Sort the keys so that b is descending, and let
G_k = g_1 + ... + g_k. If k is the number of keys with b_j > -a_i, then

    sum_j ReLU(a_i + b_j) g_j = (a_i + b_k) G_k + sum_{m<k} (b_m - b_{m+1}) G_m

All factors of the G are >= 0. So the right-hand side cancels only where the left-hand side does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_torch.operation.precision import divided, share, sum_dtype, without_autocast
from nlcore_torch.operation.recording import applied, exports


def concatenation(a: Tensor, b: Tensor, g: Tensor, by_sum: bool) -> Tensor:
    """y_i = 1/C(x) sum_j ReLU(a_i + b_j) g_j from a (B, N), b (B, M), g (B, M, V) -> (B, N, V).

    C(x) is the sum of the ReLUs (`by_sum`) or M. Where the sum is 0, y_i = 0 without a gradient.
    """
    if not by_sum:
        # ReLU(a + b) / M = ReLU(a / M + b / M). Dividing a and b is cheaper than dividing y.
        factor = share(1, g.shape[1])
        return pair_sums(a * factor, b * factor, g).to(g.dtype)
    sums, total = pair_sums_and_total(a, b, g)
    return divided(sums, total).to(g.dtype)


def logit_share(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """a_i or b_j (B, N) in the dtype of sums: rows (B, N, D) times weight (D,), plus bias ()."""
    dtype = sum_dtype(rows)
    with without_autocast(rows):
        # The weight is a (D, 1) matrix, because onnxruntime 1.32 computes its fused product of a
        # matrix and a vector wrongly.
        logits = (rows.to(dtype) @ weight.to(dtype).unsqueeze(1)).squeeze(2)  # (B, N)
        return logits if bias is None else logits + bias.to(dtype)


def pair_sums(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """sum_j ReLU(a_i + b_j) g_j (B, N, V), in the dtype of sums."""
    return _pair_sums(a, b, g.to(sum_dtype(g)))[0]


def pair_sums_and_total(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """`pair_sums` (B, N, V), and sum_j ReLU(a_i + b_j) (B, N, 1)."""
    sums = pair_sums(a, b, torch.cat([g, torch.ones_like(g[..., :1])], -1))  # (B, N, V + 1)
    return sums[..., :-1], sums[..., -1:]


class _PairSums(torch.autograd.Function):
    """sum_j ReLU(a_i + b_j) g_j and sum_j [a_i + b_j > 0] g_j, each (B, N, V).

    The derivatives are sums of the same two kinds with i and j exchanged. So the backward direction
    is as cheap and as exact as the forward direction, and any order of derivative exists.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        descending, order = b.sort(dim=-1, descending=True)  # (B, M), NaN first
        g_sorted = _rows(g, order)  # (B, M, V)
        prefix = F.pad(g_sorted.cumsum(1), (0, 0, 1, 0))  # (B, M + 1, V): G_0 = 0, G_1, ...
        gaps = descending[:, :-1] - descending[:, 1:]  # (B, M - 1)
        gaps = gaps.masked_fill(descending[:, :-1] == descending[:, 1:], 0)  # inf - inf is NaN
        steps = (gaps.unsqueeze(-1) * prefix[:, 1:-1]).cumsum(1)  # (B, M - 1, V)
        count = _count(a, descending)  # (B, N): k, the number of b_j > -a_i
        last = descending.gather(1, (count - 1).clamp(min=0))  # (B, N): b_k
        # For k = 0 this is 0, or NaN if a_i or the largest b_j is NaN.
        lead = (a + last).clamp(min=0)
        active = _rows(prefix, count)  # (B, N, V)
        # An infinite or NaN g_j makes its column NaN, because f_ij g_j is NaN where f_ij = 0.
        rest = F.pad(steps, (0, 0, 2, 0)) + (0 * g).sum(1, keepdim=True)  # (B, M + 1, V)
        return torch.addcmul(_rows(rest, count), lead.unsqueeze(-1), active), active

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, d_relu: Tensor | None, d_active: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        a, b, g, active = ctx.saved_tensors
        da = db = dg = None
        if d_relu is not None:
            dg, active_t = _pair_sums(b, a, d_relu)  # (B, M, V)
            da = (d_relu * active).sum(-1)  # (B, N)
            db = (g * active_t).sum(-1)  # (B, M)
        if d_active is not None:
            more = _pair_sums(b, a, d_active)[1]  # (B, M, V)
            dg = more if dg is None else dg + more
        return da, db, dg


class _PairSumsForward(_PairSums):
    """`_PairSums` with a forward-mode derivative, which torch.compile does not accept."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _PairSums.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs, output[1])

    @staticmethod
    def jvp(ctx: Any, da: Tensor | None, db: Tensor | None, dg: Tensor | None) -> tuple[Any, Any]:
        a, b, g, active = ctx.saved_tensors
        da, db, dg = (
            torch.zeros_like(to) if d is None else d for d, to in ((da, a), (db, b), (dg, g))
        )
        d_relu, d_active = _pair_sums(a, b, dg)
        by_b = _pair_sums(a, b, db.unsqueeze(-1) * g)[1]  # (B, N, V)
        return d_relu + da.unsqueeze(-1) * active + by_b, d_active


def _pair_sums(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    function = _PairSums if torch.compiler.is_compiling() else _PairSumsForward
    return applied(function, a, b, g)


def _count(a: Tensor, descending: Tensor) -> Tensor:
    """The number of b_j > -a_i, from a (B, N) and descending b (B, M) -> (B, N)."""
    size = descending.shape[1]
    if not exports():
        return torch.searchsorted(-descending.contiguous(), a.contiguous())
    # a bisection, because ONNX has no operator for searchsorted
    count = torch.zeros_like(a, dtype=torch.int64)  # (B, N)
    for power in reversed(range(size.bit_length() if isinstance(size, int) else 32)):
        more = count + (1 << power)  # (B, N)
        b = descending.gather(1, more.clamp(max=size) - 1)  # (B, N)
        count = torch.where((more <= size) & ~(a <= -b), more, count)
    return count


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """The rows of table (B, R, V) at index (B, N) -> (B, N, V)."""
    batch, size, width = table.shape
    start = torch.arange(batch, device=table.device).unsqueeze(1) * size  # (B, 1)
    rows = table.flatten(0, 1).index_select(0, (index + start).flatten())  # (B N, V)
    return rows.view(batch, -1, width)
