"""Backends for mmcv's NonLocal1d, NonLocal2d and NonLocal3d, as installed.

pip install mmcv-lite==2.2.0
nlcore-conformance run nlcore_torch.adapters.mmcv:nonlocal3d
nlcore-conformance identify nlcore_torch.adapters.mmcv:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn.bricks.non_local import NonLocal1d, NonLocal2d, NonLocal3d

from nlcore import NonLocalSpec
from nlcore.checkpoints.requirements import reduction

from .torch_module import Rules, TorchModule


class MMCV(TorchModule):
    """A backend for one of mmcv's three modules."""

    def __init__(self, module: type, ndim: int, defaults: bool = False) -> None:
        super().__init__("mmcv", f"mmcv {module.__name__}", defaults)
        self.module, self.ndim = module, ndim

    def form(self, spec: NonLocalSpec) -> Rules:
        return {f"ndim is {self.ndim}": spec.ndim == self.ndim} | super().form(spec)

    def rules(self, spec: NonLocalSpec) -> Rules:
        bare = "conv_out has no bias beside batch normalization"
        return super().rules(spec) | {bare: not (spec.bias is True and spec.batch_norm)}

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        norm: dict[str, Any] = {"type": f"BN{self.ndim}d"}
        arguments: dict[str, Any] = {}
        if not self.defaults:
            norm["eps"] = spec.eps
            arguments["use_scale"] = spec.scale != 1.0
        return self.module(
            spec.channels,
            reduction=reduction(spec),
            norm_cfg=norm if spec.batch_norm else None,
            mode=spec.pairwise,
            sub_sample=spec.subsample is not None,
            **arguments,
        )


nonlocal1d = MMCV(NonLocal1d, 1)
nonlocal2d = MMCV(NonLocal2d, 2)
nonlocal3d = MMCV(NonLocal3d, 3)
nonlocal1d_default = MMCV(NonLocal1d, 1, defaults=True)
nonlocal2d_default = MMCV(NonLocal2d, 2, defaults=True)
nonlocal3d_default = MMCV(NonLocal3d, 3, defaults=True)
