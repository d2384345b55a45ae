"""Convolutions of clips, which are computed as convolutions of frames where they can be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlcore_torch.operation.arguments import is_channels_last

#: Over time, height and width.
Triple = tuple[int, int, int]


class Conv3d(nn.Conv3d):
    """A `torch.nn.Conv3d` that is faster for clips in the memory format ``channels_last_3d``.

    In this format, the memory of a clip is that of its frames, one after the other, and that of
    an image of T x (H W) pixels. So a kernel 1 x k x k is a convolution of frames, and a kernel
    k x 1 x 1 one of such images. PyTorch computes both much faster on CPUs. The result is the same
    up to rounding, and has the same memory format.
    """

    kernel_size: Triple
    stride: Triple
    padding: Triple

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        padding: Triple = (0, 0, 0),
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            inputs, outputs, kernel, stride, padding, bias=bias, device=device, dtype=dtype
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if not is_channels_last(x):
            return super().forward(x)
        (kt, kh, kw), (st, sh, sw), (pt, ph, pw) = self.kernel_size, self.stride, self.padding
        rows = x.movedim(1, -1)  # (B, T, H, W, C)
        if (kt, st, pt) == (1, 1, 0):
            frames = rows.flatten(0, 1).movedim(-1, 1)  # (B T, C, H, W)
            y = F.conv2d(frames, self.weight.squeeze(2), self.bias, (sh, sw), (ph, pw))
            return _channels_last(y).unflatten(0, (len(x), -1)).movedim(-1, 1)
        if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, 0, 0):
            images = rows.flatten(2, 3).movedim(-1, 1)  # (B, C, T, H W)
            y = F.conv2d(images, self.weight.squeeze(4), self.bias, (st, 1), (pt, 0))
            return _channels_last(y).unflatten(2, x.shape[3:]).movedim(-1, 1)
        # For few positions, torch returns channels-first memory.
        return super().forward(x).contiguous(memory_format=torch.channels_last_3d)


def _channels_last(y: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), contiguous.

    The axes are split and merged in this order alone. With another order, a batch of one has the
    strides of no memory format, for which torch is slow.
    """
    return y.movedim(1, -1).contiguous()
