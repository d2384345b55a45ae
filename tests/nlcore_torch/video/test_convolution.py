"""Convolutions of clips as convolutions of frames: equal to torch's own up to rounding."""

import pytest
import torch
from torch import nn

from nlcore_torch.video.convolution import Conv3d

KERNELS = {
    "1x1x1": ((1, 1, 1), (1, 1, 1)),
    "1x1x1, stride 2": ((1, 1, 1), (1, 2, 2)),
    "1x3x3": ((1, 3, 3), (1, 1, 1)),
    "1x7x7, stride 2": ((1, 7, 7), (1, 2, 2)),
    "3x1x1": ((3, 1, 1), (1, 1, 1)),
    "3x1x1, stride in time": ((3, 1, 1), (2, 1, 1)),
    "1x1x1, stride in time": ((1, 1, 1), (2, 1, 1)),
    "3x3x3": ((3, 3, 3), (1, 1, 1)),
    "5x7x7": ((5, 7, 7), (2, 2, 2)),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kernel, stride", KERNELS.values(), ids=KERNELS)
def test_values_and_gradients_are_torchs(kernel, stride, batch, bias):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel)
    ours = Conv3d(3, 4, kernel, stride, padding, bias=bias, dtype=torch.float64)
    theirs = nn.Conv3d(3, 4, kernel, stride, padding, bias=bias, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, 3, 6, 9, 8, dtype=torch.float64)
    # a sum of 3 products for each element of the kernel, in any order, and its gradients
    terms = 3 * torch.tensor(kernel).prod().item() + 1
    found = []
    for layer, memory in (
        (theirs, torch.contiguous_format),
        (ours, torch.contiguous_format),
        (ours, torch.channels_last_3d),
    ):
        given = x.contiguous(memory_format=memory).requires_grad_()
        y = layer(given)
        d = torch.ones_like(y) / y.numel()
        found.append((y, *torch.autograd.grad(y, [given, *layer.parameters()], d)))
    for other in found[1:]:
        for value, right in zip(other, found[0], strict=True):
            assert value.shape == right.shape
            bound = 4 * terms * y.numel() * 2.0**-53 * right.abs().max()
            assert (value - right).abs().max() <= bound


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kernel, stride", KERNELS.values(), ids=KERNELS)
def test_the_memory_format_is_kept(kernel, stride, batch):
    layer = Conv3d(16, 8, kernel, stride, tuple(k // 2 for k in kernel))
    x = torch.randn(batch, 16, 6, 20, 20)  # torch has another algorithm for small clips
    x = x.contiguous(memory_format=torch.channels_last_3d)
    y = layer(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    # of one clip too, whose first stride does not count for is_contiguous
    assert (
        y.stride()
        == torch.empty_like(y.contiguous(), memory_format=torch.channels_last_3d).stride()
    )


def test_a_clip_of_one_frame_and_one_channel():
    """Their memory has both formats."""
    layer = Conv3d(1, 2, (1, 3, 3), padding=(0, 1, 1))
    x = torch.randn(1, 1, 1, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    assert layer(x).shape == (1, 2, 1, 5, 5)
