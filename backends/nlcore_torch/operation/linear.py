"""The block's linear maps, from x to the embeddings and from y to W_z y + b.

The embeddings are channels-last in memory, and x is either. Each product and each gradient is
computed in the memory layout in which it is read next, so that nothing has to be copied.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_torch.operation.precision import autocasts
from nlcore_torch.operation.recording import applied, records

#: A weight (E, C), and its bias (E,) or None.
Layer = tuple[Tensor, Tensor | None]


def embedded(rows: Tensor, *layers: Layer) -> tuple[Tensor, ...]:
    """W x + b for rows x (B, P, C) and each layer -> one tensor (B, P, E) per layer."""
    # Under autocast the rows are copied anyway, and a compiler decides itself what to store.
    if autocasts(rows) or records():
        return tuple(F.linear(rows, weight, bias) for weight, bias in layers)
    return applied(_Embedded, rows, *(tensor for layer in layers for tensor in layer))


def mapped(maps: Tensor, rows: Tensor, bias: Tensor | None, channels_last: bool) -> Tensor:
    """W y + b for rows y (B, N, E), W = maps (B, C, E) and b = bias (C,) -> (B, C, N).

    The result is channels-first in memory, or channels-last.
    """
    if autocasts(rows) or records():
        return _Mapped.forward(maps, rows, bias, channels_last)
    return applied(_Mapped, maps, rows, bias, channels_last)


class _Embedded(torch.autograd.Function):
    """The products of `embedded`, without a copy of the rows.

    torch's own linear function copies the rows of a batch and stores the copy for the backward
    direction. It also computes one gradient of the rows per weight, and then adds them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, *layers: Any) -> tuple[Tensor, ...]:
        found = []
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            product = rows, weight.mT.expand(rows.shape[0], -1, -1)  # (B, P, C), (B, C, E)
            found.append(torch.bmm(*product) if bias is None else torch.baddbmm(bias, *product))
        return tuple(found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        rows, *layers = inputs
        ctx.save_for_backward(rows, *layers[::2])
        ctx.save_for_forward(rows, *layers[::2])

    @staticmethod
    def backward(ctx: Any, *ds: Tensor) -> tuple[Tensor | None, ...]:
        rows, *weights = ctx.saved_tensors
        needs_rows, *needs = ctx.needs_input_grad
        last = rows.is_contiguous()
        drows = None  # (B, P, C) if the rows are channels-last, else (B, C, P)
        dlayers: list[Tensor | None] = []
        for weight, d, needs_weight, needs_bias in zip(
            weights, ds, needs[::2], needs[1::2], strict=True
        ):
            if needs_rows:
                maps = weight.expand(rows.shape[0], -1, -1)  # (B, E, C)
                product = (d, maps) if last else (maps.mT, d.mT)
                if drows is None:
                    drows = torch.bmm(*product)
                else:  # not in place, because torch.vmap has no rule for that
                    add = drows.addcmul if len(weight) == 1 else drows.baddbmm
                    drows = add(*product)
            flat = d.reshape(-1, d.shape[-1])  # (B P, E)
            dlayers.append(flat.mT @ rows.reshape(-1, rows.shape[-1]) if needs_weight else None)
            dlayers.append(flat.sum(0) if needs_bias else None)
        return drows if last or drows is None else drows.mT, *dlayers

    @staticmethod
    def jvp(ctx: Any, drows: Tensor, *dlayers: Any) -> tuple[Tensor, ...]:
        rows, *weights = ctx.saved_tensors
        found = []
        for weight, dweight, dbias in zip(weights, dlayers[::2], dlayers[1::2], strict=True):
            d = drows @ weight.mT + rows @ dweight.mT  # (B, P, E)
            found.append(d if dbias is None else d + dbias)
        return tuple(found)


class _Mapped(torch.autograd.Function):
    """The product of `mapped`, with a channels-last gradient of y.

    The gradient of torch's own product is channels-first.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, rows: Tensor, bias: Tensor | None, channels_last: bool) -> Tensor:
        if channels_last:
            product = rows, maps.mT  # (B, N, E), (B, E, C)
            return (torch.bmm(*product) if bias is None else torch.baddbmm(bias, *product)).mT
        if bias is None:
            return torch.bmm(maps, rows.mT)  # (B, C, N)
        return torch.baddbmm(bias.unsqueeze(1), maps, rows.mT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.channels_last = inputs[3]

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        maps, rows = ctx.saved_tensors
        needs_maps, needs_rows, needs_bias, _ = ctx.needs_input_grad
        dmaps = d.bmm(rows) if needs_maps else None  # (B, C, E)
        drows = d.mT.bmm(maps) if needs_rows else None  # (B, N, E)
        return dmaps, drows, d.sum((0, 2)) if needs_bias else None, None

    @staticmethod
    def jvp(ctx: Any, dmaps: Tensor, drows: Tensor, dbias: Tensor | None, _: None) -> Tensor:
        maps, rows = ctx.saved_tensors
        if ctx.channels_last:  # torch requires the memory layout of the result
            d = rows @ dmaps.mT + drows @ maps.mT  # (B, N, C)
            return (d if dbias is None else d + dbias).mT
        d = dmaps @ rows.mT + maps @ drows.mT  # (B, C, N)
        return d if dbias is None else d + dbias.unsqueeze(1)
