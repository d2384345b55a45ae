"""In which dtype sums are kept, and products and quotients that respect it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of logits, normalizers and prefix sums: float32 for the half precisions."""
    return torch.promote_types(tensor.dtype, torch.float32)


def autocasts(tensor: Tensor) -> bool:
    """Whether autocast is on for the tensor's device; the meta device has none."""
    device = tensor.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast does not lower float32 products on the tensor's device."""
    if autocasts(tensor):
        return torch.autocast(tensor.device.type, enabled=False)
    return nullcontext()


def scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale a b for a (B, N, K) and b (B, K, M), scaled before it is rounded to the dtype."""
    # beta=0: the first argument gives the output's shape to broadcast to, its value is not read
    return torch.baddbmm(a.new_zeros(1, 1, 1), a, b, beta=0, alpha=scale)  # (B, N, M)


def divided(numerator: Tensor, total: Tensor) -> Tensor:
    """numerator / total, and 0 with no gradient where the total is 0."""
    # the inner one keeps the division's infinite derivative out of the gradient
    safe = torch.where(total == 0, 1.0, total)
    return torch.where(total == 0, 0.0, numerator / safe)
