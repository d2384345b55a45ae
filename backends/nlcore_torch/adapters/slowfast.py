"""A backend for SlowFast's Nonlocal, as installed.

pip install --no-deps slowfast==1.0
nlcore-conformance run nlcore_torch.adapters.slowfast:nonlocal3d
nlcore-conformance identify nlcore_torch.adapters.slowfast:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

import torch
from slowfast.models.nonlocal_helper import Nonlocal

from nlcore import NonLocalSpec

from .torch_module import TorchModule


class SlowFast(TorchModule):
    """A backend for Nonlocal, with norm_type "batchnorm" or "none"."""

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        arguments: dict[str, Any] = {} if self.defaults else {"norm_eps": spec.eps}
        if not spec.batch_norm:
            arguments["norm_type"] = "none"
        return Nonlocal(
            spec.channels,
            spec.inner_channels,
            pool_size=spec.subsample,
            instantiation={"embedded_gaussian": "softmax"}.get(spec.pairwise, spec.pairwise),
            **arguments,
        )


nonlocal3d = SlowFast("slowfast", "slowfast Nonlocal")
nonlocal3d_default = SlowFast("slowfast", "slowfast Nonlocal", defaults=True)
