"""The backends for the conformance suite, with NumPy arrays in and out.

The package computes the block in several ways. `backend` is NonLocalBlock and `function` is
non_local_block. `hooked` is a NonLocalBlock that calls its parts, and `traced` one in a graph that
torch.jit.trace has recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor, nn

from nlcore import NonLocalSpec, check_input
from nlcore.weights import RUNNING
from nlcore_torch.arrays import array, tensor
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.functional import non_local_block
from nlcore_torch.operation.gaussian import CHUNK


class _Forward:
    """The block without gradients."""

    name: str
    dtypes = ("float32", "float64", "float16", "bfloat16")
    device = "cpu"
    init = "he"

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True if the dtype is in `dtypes`, else the reason. Every spec is supported."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

    def paths(self, spec: NonLocalSpec, dtype: str) -> tuple[int, ...]:
        """The number of pairs beyond which the Gaussians are computed in chunks."""
        return (2 * CHUNK,) if "gaussian" in spec.pairwise else ()

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        """The weights of a new block by name, in float32."""
        return NonLocalBlock.from_spec(spec, device=self.device).export_weights()

    def block(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        training: bool = False,
    ) -> np.ndarray:
        """`nlcore.block` in x's dtype: x (B, C, *positions) -> z (B, C, *positions)."""
        module = self._module(spec, weights, x, training)
        with torch.no_grad():
            return array(module(self._tensor(x)))

    def _module(
        self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, training: bool
    ) -> nn.Module:
        check_input(spec, x.shape, x.dtype.name)
        dtype = getattr(torch, x.dtype.name)
        module = NonLocalBlock.from_spec(spec, device=self.device, dtype=dtype)
        module.import_weights(weights)
        return module.train(training)

    def _tensor(self, value: np.ndarray) -> Tensor:
        return tensor(value).to(self.device)


class TorchBackend(_Forward):
    """The PyTorch block for NumPy arrays. It computes in the dtype of x.

    Attributes
    ----------
    device : str
        The torch device that computes, such as "cpu" or "cuda".
    """

    name = "torch"

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`nlcore.block_vjp` in x's dtype: (dx, dweights by name without running statistics)."""
        module = self._module(spec, weights, x, training)
        inputs = self._tensor(x).requires_grad_()
        parameters = dict(module.named_parameters())
        dx, *grads = torch.autograd.grad(
            module(inputs), [inputs, *parameters.values()], self._tensor(dz)
        )
        dweights = dict(zip(parameters, map(array, grads), strict=True))
        return array(dx), dweights


class HookedBackend(TorchBackend):
    """The block with a hook at each part, which does nothing but make the block call the part."""

    name = "torch hooked"

    def _module(self, *arguments: Any) -> nn.Module:
        module = super()._module(*arguments)
        for part in module.children():
            part.register_forward_hook(lambda *_: None)
        return module


class TracedBackend(_Forward):
    """The block as `torch.jit.trace` records it, in evaluation mode and without gradients."""

    name = "torch traced"

    def _module(
        self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, training: bool
    ) -> nn.Module:
        if training:
            raise NotImplementedError("a traced block computes with the running statistics")
        module = super()._module(spec, weights, x, training)
        with catch_warnings():
            for category in (DeprecationWarning, FutureWarning):  # torch.jit is deprecated
                simplefilter("ignore", category)
            return torch.jit.trace(module, self._tensor(x), check_trace=False)


class FunctionBackend(TorchBackend):
    """`non_local_block`. Each gradient is computed alone, as if all else were frozen."""

    name = "torch function"

    def block(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        training: bool = False,
    ) -> np.ndarray:
        """`nlcore.block` in x's dtype: x (B, C, *positions) -> z (B, C, *positions)."""
        return array(non_local_block(spec, self._tensors(weights), self._tensor(x), training))

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`nlcore.block_vjp` in x's dtype: (dx, dweights by name without running statistics)."""
        given = {"x": self._tensor(x), **self._tensors(weights)}
        gradients = {}
        for name in [name for name in given if name not in RUNNING]:
            argument = given[name].detach().requires_grad_()
            others = {**given, name: argument}
            z = non_local_block(spec, others, others.pop("x"), training)
            (gradient,) = torch.autograd.grad(z, [argument], self._tensor(dz))
            gradients[name] = array(gradient)
        return gradients.pop("x"), gradients

    def _tensors(self, weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: self._tensor(weight) for name, weight in weights.items()}


backend = TorchBackend()
function = FunctionBackend()
hooked = HookedBackend()
traced = TracedBackend()
