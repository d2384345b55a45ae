"""Embeddings W x + b of x's rows, which lie one channel after another."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_torch.arithmetic import autocasts


def embedded(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W x + b of rows (B, P, C), weight (E, C) and bias (E,) -> (B, P, E)."""
    # a cast copies the rows in any case, and a compiler knows what to keep
    if autocasts(rows) or torch.compiler.is_compiling():
        return F.linear(rows, weight, bias)
    return _Embedded.apply(rows, weight, bias)


class _Embedded(torch.autograd.Function):
    """One product an item: torch's own copies the rows of a batch, and keeps the copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weights = weight.mT.expand(rows.shape[0], -1, -1)  # (B, C, E)
        return rows.bmm(weights) if bias is None else torch.baddbmm(bias, rows, weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        rows, weight, _ = inputs
        ctx.save_for_backward(rows, weight)
        ctx.save_for_forward(rows, weight)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        needs_rows, needs_weight, needs_bias = ctx.needs_input_grad
        drows = dweight = dbias = None
        if needs_rows:  # one channel after another, as the rows
            drows = weight.mT.expand(rows.shape[0], -1, -1).bmm(d.mT).mT  # (B, P, C)
        if needs_weight:
            dweight = d.reshape(-1, d.shape[-1]).mT @ rows.reshape(-1, rows.shape[-1])  # (E, C)
        if needs_bias:
            dbias = d.sum((0, 1))  # (E,)
        return drows, dweight, dbias

    @staticmethod
    def jvp(ctx: Any, drows: Tensor, dweight: Tensor, dbias: Tensor | None) -> Tensor:
        rows, weight = ctx.saved_tensors
        d = drows @ weight.mT + rows @ dweight.mT  # (B, P, E)
        return d if dbias is None else d + dbias
