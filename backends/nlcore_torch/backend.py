"""The conformance suite's backend object: NumPy arrays in and out, computed by NonLocalBlock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlcore import NonLocalSpec, check_input, check_weights
from nlcore_torch.block import NonLocalBlock


class TorchBackend:
    """PyTorch's block on NumPy arrays; x's dtype is the dtype that is computed in.

    Attributes
    ----------
    device : str
        Where to compute: "cpu", or "cuda" and what else torch knows.
    """

    name = "torch"
    dtypes = ("float32", "float64", "float16", "bfloat16")
    device = "cpu"

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or why not: every spec is supported, in each of `dtypes`."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

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
            return _array(module(self._tensor(x)))

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`nlcore.block_vjp` in x's dtype: dx, and dweights by name without running statistics."""
        module = self._module(spec, weights, x, training)
        tensor = self._tensor(x).requires_grad_()
        parameters = dict(module.named_parameters())
        dx, *grads = torch.autograd.grad(
            module(tensor), [tensor, *parameters.values()], self._tensor(dz)
        )
        dweights = dict(zip(parameters, map(_array, grads), strict=True))
        return _array(dx), dweights

    def _module(
        self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, training: bool
    ) -> NonLocalBlock:
        check_input(spec, x.shape, x.dtype.name)
        check_weights(spec, weights)
        dtype = getattr(torch, x.dtype.name)
        module = NonLocalBlock.from_spec(spec, device=self.device, dtype=dtype)
        module.load_state_dict({name: self._tensor(array) for name, array in weights.items()})
        return module.train(training)

    def _tensor(self, array: np.ndarray) -> Tensor:
        array = np.array(array, order="C")  # torch would warn of one that is read-only
        if array.dtype.name == "bfloat16":  # which torch knows, but not NumPy's form of it
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(self.device)
        return torch.from_numpy(array).to(self.device)


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes  # only where bfloat16 is asked for

        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


backend = TorchBackend()
