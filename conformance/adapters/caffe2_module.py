"""What pytorchvideo's and SlowFast's blocks have in common: both are after the authors' code."""

from __future__ import annotations

import torch

from nlcore import NonLocalSpec

from .torch_module import Rules, TorchModule

#: The constructor's word for a pairwise function with its normalization.
INSTANTIATIONS = {"embedded_gaussian": "softmax", "dot_product": "dot_product"}


class Caffe2Module(TorchModule):
    """A block of layers conv_theta, conv_phi, conv_g and conv_out; `norm` is its batch norm's."""

    norm: str

    def form(self, spec: NonLocalSpec) -> Rules:
        return {
            "instantiation is softmax or dot_product": spec.pairwise in INSTANTIATIONS,
            "ndim is 3": spec.ndim == 3,
        }

    def rules(self, spec: NonLocalSpec) -> Rules:
        softmax = spec.pairwise == "embedded_gaussian"
        return {
            "every position sees all others": spec.extent == "all" and spec.window is None,
            "pooling is before phi and g": spec.subsample is None or spec.subsample_at == "input",
            "softmax is normalized by sum, dot_product by count": spec.normalization
            == ("sum" if softmax else "count"),
            "scale is D**-0.5 for softmax, 1 for dot_product": spec.scale
            == (spec.inner_channels**-0.5 if softmax else 1.0),
        }

    def layer(self, module: torch.nn.Module, part: str) -> torch.nn.Module:
        return getattr(module, self.norm if part == "bn" else f"conv_{part}")
