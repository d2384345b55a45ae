"""The dtype of sums, and products and quotients that stay in range and precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of sums, for logits, normalizers and prefix sums: float32 for half precisions."""
    return torch.promote_types(tensor.dtype, torch.float32)


def autocasts(tensor: Tensor) -> bool:
    """Whether autocast is enabled for the tensor's device. The meta device has no autocast."""
    device = tensor.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the tensor's device, so that products keep their dtype."""
    if autocasts(tensor):
        return torch.autocast(tensor.device.type, enabled=False)
    return nullcontext()


def share(scale: float, count: Any) -> Any:
    """scale / count, where count is a size of a tensor."""
    # In a traced graph a size is a tensor of integers, by which torch divides in float32.
    return scale / (count.double() if isinstance(count, Tensor) else count)


def scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale a b for a (B, N, K) and b (B, K, M), scaled before rounding to the dtype."""
    if torch.jit.is_tracing():  # the scale depends on a size, and is then a tensor
        return (scale * a) @ b
    if scale == 1:
        return torch.bmm(a, b)  # (B, N, M)
    # With beta=0, baddbmm does not read the value of its first argument.
    return torch.baddbmm(a.new_zeros(1, 1, 1), a, b, beta=0, alpha=scale)  # (B, N, M)


def divided(numerator: Tensor, total: Tensor) -> Tensor:
    """numerator / total, or 0 without a gradient where total is 0."""
    # A division by 0 would have an infinite derivative, which would make the gradient NaN.
    safe = torch.where(total == 0, 1.0, total)
    return torch.where(total == 0, 0.0, numerator / safe)
