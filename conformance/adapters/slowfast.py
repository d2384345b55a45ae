"""SlowFast's Nonlocal as a backend, as it is installed.

pip install --no-deps slowfast==1.0
nlcore-conformance run conformance.adapters.slowfast:nonlocal3d
nlcore-conformance identify conformance.adapters.slowfast:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

import torch
from slowfast.models.nonlocal_helper import Nonlocal

from nlcore import NonLocalSpec

from .caffe2_module import INSTANTIATIONS, Caffe2Module


class SlowFast(Caffe2Module):
    """Nonlocal, with norm_type "batchnorm" or "none"."""

    norm = "bn"

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        arguments: dict[str, Any] = {} if self.defaults else {"norm_eps": spec.eps}
        if not spec.batch_norm:
            arguments["norm_type"] = "none"
        return Nonlocal(
            spec.channels,
            spec.inner_channels,
            pool_size=spec.subsample,
            instantiation=INSTANTIATIONS[spec.pairwise],
            **arguments,
        )


nonlocal3d = SlowFast("slowfast Nonlocal")
nonlocal3d_default = SlowFast("slowfast Nonlocal", defaults=True)
