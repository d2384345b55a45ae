"""A backend for pytorchvideo's NonLocal, as create_nonlocal makes it.

pip install --no-deps pytorchvideo==0.1.5
pip install fvcore iopath parameterized
nlcore-conformance run nlcore_torch.adapters.pytorchvideo:nonlocal3d
nlcore-conformance identify nlcore_torch.adapters.pytorchvideo:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

from pytorchvideo.layers.nonlocal_net import create_nonlocal
from torch import nn

from nlcore import NonLocalSpec
from nlcore_torch.adapters.origins import origin_backends


def _build(spec: NonLocalSpec, by_default: bool) -> nn.Module:
    arguments: dict[str, Any] = {} if by_default else {"norm_eps": spec.eps}
    if not spec.batch_norm:
        arguments["norm"] = None
    return create_nonlocal(
        dim_in=spec.channels,
        dim_inner=spec.inner_channels,
        pool_size=spec.subsample,
        instantiation={"embedded_gaussian": "softmax"}.get(spec.pairwise, spec.pairwise),
        **arguments,
    )


nonlocal3d, nonlocal3d_default = origin_backends(
    "pytorchvideo", "pytorchvideo create_nonlocal", _build
)
