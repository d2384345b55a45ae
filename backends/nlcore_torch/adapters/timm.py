"""A backend for timm's NonLocalAttn, as installed.

pip install timm torchvision
nlcore-conformance run nlcore_torch.adapters.timm:nonlocal2d
nlcore-conformance identify nlcore_torch.adapters.timm:nonlocal2d_default
"""

from __future__ import annotations

from timm.layers import NonLocalAttn
from torch import nn

from nlcore import NonLocalSpec
from nlcore_torch.adapters.origins import origin_backends


def _build(spec: NonLocalSpec, by_default: bool) -> nn.Module:
    use_scale = {} if by_default else {"use_scale": spec.scale != 1.0}
    return NonLocalAttn(spec.channels, rd_channels=spec.inner_channels, **use_scale)


nonlocal2d, nonlocal2d_default = origin_backends("timm", "timm NonLocalAttn", _build)
