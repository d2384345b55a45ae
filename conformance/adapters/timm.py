"""timm's NonLocalAttn as a backend, as it is installed.

pip install timm torchvision
nlcore-conformance run conformance.adapters.timm:nonlocal2d
nlcore-conformance identify conformance.adapters.timm:nonlocal2d_default
"""

from __future__ import annotations

import torch
from timm.layers import NonLocalAttn

from nlcore import NonLocalSpec

from .torch_module import Rules, TorchModule

_NAMES = {"theta": "t", "phi": "p", "g": "g", "out": "z", "bn": "norm"}


class Timm(TorchModule):
    """NonLocalAttn."""

    def form(self, spec: NonLocalSpec) -> Rules:
        embedded_gaussian = spec.pairwise == "embedded_gaussian"
        return {
            "the embedded Gaussian is the only pairwise function": embedded_gaussian,
            "ndim is 2": spec.ndim == 2,
            "there is always batch normalization": spec.batch_norm,
        }

    def rules(self, spec: NonLocalSpec) -> Rules:
        return {
            "there is no pooling": spec.subsample is None,
            "normalization is by sum": spec.normalization == "sum",
            "scale is C**-0.5, or 1 without use_scale": spec.scale in (spec.channels**-0.5, 1.0),
            "eps is 1e-5": spec.eps == 1e-5,
        }

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        use_scale = {} if self.defaults else {"use_scale": spec.scale != 1.0}
        return NonLocalAttn(spec.channels, rd_channels=spec.inner_channels, **use_scale)

    def layer(self, module: torch.nn.Module, part: str) -> torch.nn.Module:
        return getattr(module, _NAMES[part])


nonlocal2d = Timm("timm NonLocalAttn")
nonlocal2d_default = Timm("timm NonLocalAttn", defaults=True)
