"""The backend for the conformance suite: NonLocalBlock with NumPy arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlcore import NonLocalSpec, check_input
from nlcore_torch.arrays import array, tensor
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.operation.gaussian import CHUNK


class TorchBackend:
    """The PyTorch block for NumPy arrays. It computes in the dtype of x.

    Attributes
    ----------
    device : str
        The torch device that computes, such as "cpu" or "cuda".
    """

    name = "torch"
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

    def _module(
        self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, training: bool
    ) -> NonLocalBlock:
        check_input(spec, x.shape, x.dtype.name)
        dtype = getattr(torch, x.dtype.name)
        module = NonLocalBlock.from_spec(spec, device=self.device, dtype=dtype)
        module.import_weights(weights)
        return module.train(training)

    def _tensor(self, value: np.ndarray) -> Tensor:
        return tensor(value).to(self.device)


backend = TorchBackend()
