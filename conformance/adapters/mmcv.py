"""mmcv's NonLocal1d, NonLocal2d and NonLocal3d as backends, as they are installed.

pip install mmcv-lite==2.2.0
nlcore-conformance run conformance.adapters.mmcv:nonlocal3d
nlcore-conformance identify conformance.adapters.mmcv:nonlocal3d_default
"""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn.bricks.non_local import NonLocal1d, NonLocal2d, NonLocal3d

from nlcore import NonLocalSpec

from .torch_module import Rules, TorchModule


class MMCV(TorchModule):
    """One of mmcv's modules."""

    def __init__(self, module: type, ndim: int, defaults: bool = False) -> None:
        super().__init__(f"mmcv {module.__name__}", defaults)
        self.module, self.ndim = module, ndim
        self.pool = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}[ndim]

    def form(self, spec: NonLocalSpec) -> Rules:
        return {
            f"ndim is {self.ndim}": spec.ndim == self.ndim,
            "D is C // reduction": _reduction(spec) is not None,
        }

    def rules(self, spec: NonLocalSpec) -> Rules:
        gaussian = "gaussian" in spec.pairwise
        scales = (1.0, spec.inner_channels**-0.5)
        return {
            "every position sees all others": spec.extent == "all" and spec.window is None,
            f"the pooling window is {self.pool}": spec.subsample in (None, self.pool),
            "pooling is after phi and g": spec.subsample is None
            or spec.subsample_at == "embedding",
            "the Gaussians are normalized by sum, the others by count": spec.normalization
            == ("sum" if gaussian else "count"),
            "scale is 1, or D**-0.5 with use_scale for the embedded Gaussian": spec.scale
            in (scales if spec.pairwise == "embedded_gaussian" else (1.0,)),
            "conv_out has no bias beside batch normalization": not (spec.bias and spec.batch_norm),
            "there is no bias inside the ReLU": not spec.pair_bias,
        }

    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        norm: dict[str, Any] = {"type": f"BN{self.ndim}d"}
        arguments: dict[str, Any] = {}
        if not self.defaults:
            norm["eps"] = spec.eps
            arguments["use_scale"] = spec.scale != 1.0
        return self.module(
            spec.channels,
            reduction=_reduction(spec),
            norm_cfg=norm if spec.batch_norm else None,
            mode=spec.pairwise,
            sub_sample=spec.subsample is not None,
            **arguments,
        )

    def layer(self, module: torch.nn.Module, part: str) -> torch.nn.Module:
        conv_out: Any = module.conv_out
        if part == "bn":
            return conv_out.norm
        layer: Any = getattr(module, {"out": "conv_out", "f": "concat_project"}.get(part, part))
        if isinstance(layer, torch.nn.Sequential):  # with its pooling
            layer = layer[0]
        return layer.conv


def _reduction(spec: NonLocalSpec) -> int | None:
    """The reduction that makes D of C, if there is one."""
    c, d = spec.channels, spec.inner_channels
    return next((r for r in range(1, c + 1) if c // r == d), None)


nonlocal1d = MMCV(NonLocal1d, 1)
nonlocal2d = MMCV(NonLocal2d, 2)
nonlocal3d = MMCV(NonLocal3d, 3)
nonlocal1d_default = MMCV(NonLocal1d, 1, defaults=True)
nonlocal2d_default = MMCV(NonLocal2d, 2, defaults=True)
nonlocal3d_default = MMCV(NonLocal3d, 3, defaults=True)
