"""Batch normalization of W_z y + b: as a function, as a module, and over several devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nlcore_torch.operation.precision import sum_dtype


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, per channel of x (B, C, *positions).

    Without mean and variance they are the batch's, the variance biased.
    """
    if mean is None and x.numel() == x.shape[1]:
        # torch's own leaves rounding errors of mean / sqrt(eps) where x - mean is 0
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - x) * weight.view(shape) + bias.view(shape)
    cudnn = torch.backends.cudnn.enabled
    return torch.batch_norm(x, weight, bias, mean, variance, mean is None, 0.0, eps, cudnn)


def batch_norm_over_devices(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, added: Callable[[Tensor], Tensor]
) -> Tensor:
    """`batch_norm` of x (B, C, *positions) with the statistics of every device's x.

    `added` returns the sum of the devices' tensors.
    """
    wide = x.to(sum_dtype(x))
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    count = added(wide.new_tensor(float(x.numel() // x.shape[1])))
    mean = added(wide.sum(axes)) / count  # (C,)
    centred = wide - mean.view(shape)
    variance = added(centred.square().sum(axes)) / count  # (C,)
    xhat = centred * (variance + eps).rsqrt().view(shape)
    return (xhat * weight.view(shape) + bias.view(shape)).to(x.dtype)


class BatchNorm(_BatchNorm):
    """Batch normalization over (B, C, *positions), for any number of position axes.

    torch's own, so that its tools find it, with three differences. The state dict has no count of
    batches. With `identity`, `reset_parameters` starts the weight at 0. A batch of one value per
    channel has a defined result.
    """

    def __init__(
        self,
        channels: int,
        eps: float,
        momentum: float = 0.1,
        identity: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.identity = identity
        super().__init__(channels, eps, momentum, device=device, dtype=dtype)
        # not None: SyncBatchNorm, to which this may be converted, counts on
        self.register_buffer("num_batches_tracked", self.num_batches_tracked, persistent=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.identity:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, *positions), normalized."""
        if self.training and x.numel() == x.shape[1]:
            return batch_norm(x, self.weight, self.bias, None, None, self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do: the block has checked x."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # after a conversion to SyncBatchNorm, state dicts hold the count
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        # past torch's, which adds the count to a plain dict and then finds it unexpected
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)
