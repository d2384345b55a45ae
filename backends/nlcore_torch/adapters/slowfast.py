"""A backend for SlowFast's Nonlocal, as installed, with norm_type "batchnorm" or "none".

pip install --no-deps slowfast==1.0
nlcore-conformance run nlcore_torch.adapters.slowfast:nonlocal3d
nlcore-conformance identify nlcore_torch.adapters.slowfast:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

from slowfast.models.nonlocal_helper import Nonlocal
from slowfast.utils.weight_init_helper import init_weights
from torch import nn

from nlcore import NonLocalSpec
from nlcore_torch.adapters.origins import origin_backends


def _build(spec: NonLocalSpec, by_default: bool) -> nn.Module:
    arguments: dict[str, Any] = {} if by_default else {"norm_eps": spec.eps}
    if not spec.batch_norm:
        arguments["norm_type"] = "none"
    module = Nonlocal(
        spec.channels,
        spec.inner_channels,
        pool_size=spec.subsample,
        instantiation={"embedded_gaussian": "softmax"}.get(spec.pairwise, spec.pairwise),
        **arguments,
    )
    init_weights(module)  # as SlowFast's networks do: the constructor only notes what starts at 0
    return module


nonlocal3d, nonlocal3d_default = origin_backends(
    "slowfast", "slowfast Nonlocal", _build, init="he_fan_out"
)
