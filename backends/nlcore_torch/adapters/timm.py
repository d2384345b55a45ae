"""A backend for timm's NonLocalAttn, as installed.

pip install timm torchvision
nlcore-conformance run nlcore_torch.adapters.timm:nonlocal2d
nlcore-conformance identify nlcore_torch.adapters.timm:nonlocal2d_default
"""

from __future__ import annotations

import torch
from timm.layers import NonLocalAttn

from nlcore import NonLocalSpec

from .torch_module import TorchModule


class Timm(TorchModule):
    """A backend for NonLocalAttn."""

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        use_scale = {} if self.defaults else {"use_scale": spec.scale != 1.0}
        return NonLocalAttn(spec.channels, rd_channels=spec.inner_channels, **use_scale)


nonlocal2d = Timm("timm", "timm NonLocalAttn")
nonlocal2d_default = Timm("timm", "timm NonLocalAttn", defaults=True)
