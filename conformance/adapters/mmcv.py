"""mmcv's NonLocal1d, NonLocal2d and NonLocal3d as backends, as they are installed.

pip install mmcv-lite==2.2.0
nlcore-conformance run conformance.adapters.mmcv:nonlocal3d
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from mmcv.cnn.bricks.non_local import NonLocal1d, NonLocal2d, NonLocal3d

from nlcore import NonLocalSpec
from nlcore.weights import RUNNING

Weights = Mapping[str, np.ndarray]


class MMCV:
    """One of mmcv's modules; what its constructor cannot say is not supported."""

    dtypes = ("float32", "float64")

    def __init__(self, module: type, ndim: int) -> None:
        self.name = f"mmcv {module.__name__}"
        self.module, self.ndim = module, ndim
        self.pool = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}[ndim]

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        gaussian = "gaussian" in spec.pairwise
        scales = (1.0, spec.inner_channels**-0.5)
        rules = {
            f"{self.name} has ndim {self.ndim}": spec.ndim == self.ndim,
            "sum for the two Gaussians, count for the others": spec.normalization
            == ("sum" if gaussian else "count"),
            "scale is 1, or D**-0.5 with use_scale for the embedded Gaussian": spec.scale
            in (scales if spec.pairwise == "embedded_gaussian" else (1.0,)),
            f"the pooling window is {self.pool}": spec.subsample in (None, self.pool),
            "it pools after phi and g": spec.subsample is None or spec.subsample_at == "embedding",
            "all positions see each other": spec.extent == "all" and spec.window is None,
            "no bias inside the ReLU": not spec.pair_bias,
            "conv_out has no bias beside batch normalization": not (spec.bias and spec.batch_norm),
            "D is C // reduction": _reduction(spec) is not None,
        }
        return next((why for why, holds in rules.items() if not holds), True)

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        with torch.no_grad():
            return self._module(spec, weights, x, training)(torch.from_numpy(x)).numpy()

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        module = self._module(spec, weights, x, training)
        inputs = torch.from_numpy(x).requires_grad_()
        names = [name for name in weights if name not in RUNNING]
        dx, *grads = torch.autograd.grad(
            module(inputs),
            [inputs, *(_parameter(module, name) for name in names)],
            torch.from_numpy(dz),
        )
        named = zip(names, grads, strict=True)
        return dx.numpy(), {n: g.numpy().reshape(weights[n].shape) for n, g in named}

    def _module(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool
    ) -> torch.nn.Module:
        if (why := self.supports(spec, x.dtype.name)) is not True:
            raise NotImplementedError(why)
        module = self.module(
            spec.channels,
            reduction=_reduction(spec),
            use_scale=spec.scale != 1.0,
            norm_cfg={"type": f"BN{self.ndim}d", "eps": spec.eps} if spec.batch_norm else None,
            mode=spec.pairwise,
            sub_sample=spec.subsample is not None,
        ).to(torch.from_numpy(x).dtype)
        for parameter in module.parameters():
            torch.nn.init.zeros_(parameter)  # its biases, where the spec has none
        for name, value in weights.items():
            tensor = _parameter(module, name).data
            tensor.copy_(torch.from_numpy(value).reshape(tensor.shape))
        return module.train(training)


def _reduction(spec: NonLocalSpec) -> int | None:
    """The reduction that makes D of C, if there is one."""
    c, d = spec.channels, spec.inner_channels
    return next((r for r in range(1, c + 1) if c // r == d), None)


def _parameter(module: torch.nn.Module, name: str) -> torch.Tensor:
    """mmcv's parameter for one of the block's weight names."""
    part, _, leaf = name.partition(".")
    if part == "bn":
        return getattr(module.conv_out.norm, leaf)
    holder = getattr(module, {"out": "conv_out", "f": "concat_project"}.get(part, part))
    if isinstance(holder, torch.nn.Sequential):  # with its pooling
        holder = holder[0]
    return getattr(holder.conv, leaf)


nonlocal1d = MMCV(NonLocal1d, 1)
nonlocal2d = MMCV(NonLocal2d, 2)
nonlocal3d = MMCV(NonLocal3d, 3)
