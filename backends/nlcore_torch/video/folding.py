"""Batch normalization with fixed statistics, folded into the convolution or block before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nlcore import weight_shapes
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.parts import unwrapped
from nlcore_torch.video.convolution import Conv3d

_Module = TypeVar("_Module", bound=nn.Module)


@torch.no_grad()
def fold(model: _Module) -> _Module:
    """Fold each normalization of a network into the layer before it, in place.

    BN(W x) = (s W) x + t with s = gamma / sqrt(variance + eps) and t = beta - s mean. s, t and s W
    are computed in float64 and rounded once. The normalizations become ``torch.nn.Identity``.

    Raises
    ------
    TypeError
        A layer was replaced by one of another class.
    """
    for module in list(model.modules()):
        if isinstance(module, NonLocalBlock):
            continue
        names = dict(module.named_children())
        for name, norm in names.items():
            if isinstance(norm, _BatchNorm):
                before = name.replace("_bn", "").replace("bn", "conv")
                setattr(module, before, _folded_convolution(before, names[before], norm))
                setattr(module, name, nn.Identity())
            elif isinstance(unwrapped(norm), NonLocalBlock):
                setattr(module, name, _folded_block(unwrapped(norm)))
    return model


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """s (C,) and t (C,) in float64."""
    gamma, beta, mean, variance = (
        getattr(norm, kind).double() for kind in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / (variance + norm.eps).sqrt()
    return scale, beta - scale * mean


def _folded_convolution(name: str, conv: Any, norm: nn.Module) -> Conv3d:
    if not isinstance(conv, Conv3d):
        raise TypeError(f"{name} must be a convolution; received a {type(conv).__name__}")
    scale, shift = _scale_and_shift(norm)
    found = Conv3d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        device="meta",
        dtype=conv.weight.dtype,
    )
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1, 1)
    found.weight = _constant(weight.to(conv.weight))
    found.bias = _constant(shift.to(conv.weight))
    return found


def _folded_block(block: NonLocalBlock) -> NonLocalBlock:
    """The block without batch normalization. Its embeddings get biases of 0 if they had none."""
    spec = block.spec
    if not spec.batch_norm:
        return block
    scale, shift = _scale_and_shift(block.bn)
    weights = {name: tensor.double() for name, tensor in block.state_dict().items()}
    given = replace(spec, batch_norm=False, bias=True)
    folded = {
        name: weights.get(name, scale.new_zeros(shape))
        for name, shape in weight_shapes(given).items()
    }
    folded["out.weight"] = folded["out.weight"] * scale.view(-1, 1)
    folded["out.bias"] = folded["out.bias"] * scale + shift
    like = block.bn.weight
    found = NonLocalBlock.from_spec(given, device="meta", dtype=next(block.parameters()).dtype)
    found = found.to_empty(device=like.device)
    found.import_weights(folded)
    return found.eval().requires_grad_(False)


def _constant(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)
