"""Small blocks, and as a control the same block of four convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nlcore.spec import PAIRWISE
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_torch import NonLocalBlock, non_local_block

SIZES = (2, 3, 4)


class Convolutions(nn.Module):
    """The control: the embedded Gaussian of four convolutions, as other projects write it."""

    def __init__(self, channels=6, inner=4, bias=True):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv3d(channels, inner, 1, bias=bias) for _ in range(3))
        self.out = nn.Conv3d(inner, channels, 1, bias=bias)
        self.bn = nn.BatchNorm3d(channels)
        self.parts = ["theta", "phi", "g", "out"]

    def forward(self, x):
        theta, phi, g = (p(x).flatten(2) for p in (self.theta, self.phi, self.g))
        y = g @ (theta.mT @ phi).softmax(-1).mT  # (B, D, N)
        return x + self.bn(self.out(y.unflatten(2, x.shape[2:])))


def block(pairwise="embedded_gaussian", **fields):
    torch.manual_seed(0)
    bias = {"bias": True, "pair_bias": pairwise == "concatenation"}
    return NonLocalBlock(6, 4, pairwise=pairwise, identity=False, **bias | fields)


def parts_of(module):
    names = ("theta", "phi", "g", "f", "out")
    return {name: getattr(module, name) for name in names if hasattr(module, name)}


def random_x(dtype=torch.float32):
    return torch.randn(2, 6, *SIZES, generator=torch.Generator().manual_seed(1)).to(dtype)


def control():
    torch.manual_seed(0)
    return Convolutions()


EACH = pytest.mark.parametrize("make", [control, *(lambda f=f: block(f) for f in PAIRWISE)])


def assert_same(module, weights, x, z):
    """z is what the block computes with these weights, within the bound of the arithmetic."""
    arrays = {name: value.detach().numpy() for name, value in weights.items()}
    bound = block_bounds(module.spec, arrays, x.numpy(), dtype="float32", training=module.training)
    right = non_local_block(
        module.spec,
        {name: value.detach().double() for name, value in weights.items()},
        x.double(),
        module.training,
    )
    assert ((z.double() - right).abs().detach().numpy() <= bound["z"]).all()
