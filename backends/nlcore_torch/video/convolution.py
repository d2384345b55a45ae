"""Convolutions of clips, which are computed as convolutions of frames where they can be."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nlcore_torch.operation.arguments import is_channels_last


class Conv3d(nn.Conv3d):
    """A `torch.nn.Conv3d` that is faster for clips in the memory format ``channels_last_3d``.

    In this format, the memory of a clip is that of its frames, one after the other, and that of
    an image of T x (H W) pixels. So a kernel 1 x k x k is a convolution of frames, and a kernel
    k x 1 x 1 one of such images. PyTorch computes both much faster on CPUs. The result is the same
    up to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if not is_channels_last(x):
            return super().forward(x)
        (kt, kh, kw), (st, sh, sw), (pt, ph, pw) = self.kernel_size, self.stride, self.padding
        if (kt, st, pt) == (1, 1, 0):
            weight = self.weight.squeeze(2)  # (C', C, kh, kw)
            y = F.conv2d(frames(x), weight, self.bias, (sh, sw), (ph, pw))  # (B T, C', H', W')
            return y.unflatten(0, (len(x), -1)).transpose(1, 2)
        if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, 0, 0):
            weight = self.weight.squeeze(4)  # (C', C, kt, 1)
            y = F.conv2d(x.flatten(3), weight, self.bias, (st, 1), (pt, 0))  # (B, C', T', H W)
            return y.unflatten(3, x.shape[3:])
        return super().forward(x)


def frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)
