"""Batch normalization of W_z y + b, as a function, over several devices, and as a module."""

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

    If mean and variance are None, they are those of the batch, with the biased variance.
    """
    if mean is None and x.numel() == x.shape[1]:
        # With one value per channel, x - mean is 0. torch's own function would return a rounding
        # error of mean / sqrt(eps) instead.
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - x) * weight.view(shape) + bias.view(shape)
    cudnn = torch.backends.cudnn.enabled
    return torch.batch_norm(x, weight, bias, mean, variance, mean is None, 0.0, eps, cudnn)


def batch_norm_over_devices(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, added: Callable[[Tensor], Tensor]
) -> Tensor:
    """`batch_norm` of x (B, C, *positions) with the statistics of the x of all devices.

    `added` returns the sum of a tensor over all devices.
    """
    wide = x.to(sum_dtype(x))
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    count = added(wide.new_tensor(float(x.numel() // x.shape[1])))
    mean = added(wide.sum(axes)) / count  # (C,)
    centred = wide - mean.view(shape)
    variance = added(centred.square().sum(axes)) / count  # (C,)
    xhat = centred * (variance + eps).rsqrt().view(shape)
    return (xhat * weight.view(shape) + bias.view(shape)).to(x.dtype)


class _Normalization(_BatchNorm):
    """Batch normalization of (B, C, *positions), as the layer of a block or of a network.

    Its subclasses are subclasses of torch's own, so that torch's tools find them by their class.
    There are three differences. The state dict has no count of batches. With `identity`,
    `reset_parameters` sets the weight to 0. In training, a batch with one value per channel is not
    an error.
    """

    #: A state dict of version 1 has no count of batches. torch's own layers, such as the
    #: SyncBatchNorm to which this one can be converted, load it.
    _version = 1

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
        # It is not None, because SyncBatchNorm, to which this can be converted, increments it.
        self.register_buffer("num_batches_tracked", self.num_batches_tracked, persistent=False)

    def reset_parameters(self) -> None:
        """Reset the parameters and the running statistics. With `identity`, the weight is 0."""
        super().reset_parameters()
        if self.identity:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (B, C, *positions)."""
        if self.training and x.numel() == x.shape[1]:
            return batch_norm(x, self.weight, self.bias, None, None, self.eps)
        return super().forward(x)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # State dicts that were saved after a conversion to SyncBatchNorm contain the count.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        # This skips the method of torch's batch normalization, which adds the count to a state dict
        # without version and then reports it as unexpected.
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


class BatchNorm1d(_Normalization, nn.BatchNorm1d):
    """Batch normalization of (B, C, T)."""


class BatchNorm2d(_Normalization, nn.BatchNorm2d):
    """Batch normalization of (B, C, H, W)."""


class BatchNorm3d(_Normalization, nn.BatchNorm3d):
    """Batch normalization of (B, C, T, H, W)."""


#: The class for each number of position axes.
BATCH_NORMS: dict[int, type[_Normalization]] = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
