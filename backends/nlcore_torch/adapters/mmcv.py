"""Backends for mmcv's NonLocal1d, NonLocal2d and NonLocal3d, as installed.

pip install mmcv-lite==2.2.0
nlcore-conformance run nlcore_torch.adapters.mmcv:nonlocal3d
nlcore-conformance identify nlcore_torch.adapters.mmcv:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

from mmcv.cnn.bricks.non_local import NonLocal1d, NonLocal2d, NonLocal3d
from torch import nn

from nlcore import NonLocalSpec
from nlcore.checkpoints.requirements import reduction
from nlcore_torch.adapters.module_backend import ModuleBackend
from nlcore_torch.adapters.origins import origin_backends


def _backends(module: type[nn.Module], ndim: int) -> tuple[ModuleBackend, ModuleBackend]:
    """The backends of one of mmcv's three modules."""

    def build(spec: NonLocalSpec, by_default: bool) -> nn.Module:
        norm: dict[str, Any] = {"type": f"BN{ndim}d"}
        arguments: dict[str, Any] = {}
        if not by_default:
            norm["eps"] = spec.eps
            arguments["use_scale"] = spec.scale != 1.0
        return module(
            spec.channels,
            reduction=reduction(spec),
            norm_cfg=norm if spec.batch_norm else None,
            mode=spec.pairwise,
            sub_sample=spec.subsample is not None,
            **arguments,
        )

    bare = "conv_out has no bias beside batch normalization"
    return origin_backends(
        "mmcv",
        f"mmcv {module.__name__}",
        build,
        form={f"ndim is {ndim}": lambda spec: spec.ndim == ndim},
        limits={bare: lambda spec: not (spec.bias is True and spec.batch_norm)},
    )


nonlocal1d, nonlocal1d_default = _backends(NonLocal1d, 1)
nonlocal2d, nonlocal2d_default = _backends(NonLocal2d, 2)
nonlocal3d, nonlocal3d_default = _backends(NonLocal3d, 3)
