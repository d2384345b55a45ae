"""A package's torch module as a backend, for the adapters beside this file.

An adapter translates the spec into the constructor's arguments. `nlcore.checkpoints.origins` has
the parameters' names and the rules that no argument changes. The package's code runs as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch

from nlcore import NonLocalSpec
from nlcore.checkpoints.origins import block_places, named_origin
from nlcore.weights import RUNNING
from nlcore_torch.arrays import array

Weights = Mapping[str, np.ndarray]
#: What must hold of a spec, in words -> whether it does.
Rules = dict[str, bool]


class TorchModule(ABC):
    """One class of a package as a backend.

    Parameters
    ----------
    origin : str
        Its name in `nlcore.checkpoints.origins`.
    name : str
        The package's and the class'.
    defaults : bool
        Build it as its constructor's defaults have it, for `nlcore-conformance identify`: the spec
        says the sizes, the pairwise function and, as far as the constructor has them, batch
        normalization and whether there is subsampling. The spec's other rules are not heeded.
    """

    dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")

    def __init__(self, origin: str, name: str, defaults: bool = False) -> None:
        self.origin = origin
        self.name = f"{name} by default" if defaults else name
        self.defaults = defaults

    def form(self, spec: NonLocalSpec) -> Rules:
        """What there is no module or no weight for otherwise."""
        return {rule.words: rule.holds for rule in named_origin(self.origin).form(spec)}

    def rules(self, spec: NonLocalSpec) -> Rules:
        """What the module computes, whatever its constructor is told."""
        return {rule.words: rule.holds for rule in named_origin(self.origin).rules(spec)}

    @abstractmethod
    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        """The module; a rule that the spec leaves no choice about is left to its default."""

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or the first rule that the spec breaks."""
        rules = self.form(spec) | ({} if self.defaults else self.rules(spec))
        rules |= {f"dtype is one of {', '.join(self.dtypes)}": dtype in self.dtypes}
        return next((rule for rule, holds in rules.items() if not holds), True)

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """As `nlcore.block`, in x's dtype."""
        with torch.no_grad():
            return array(self._module(spec, weights, x, training)(tensor(x)))

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As `nlcore.block_vjp`, in x's dtype, by torch's automatic differentiation."""
        module = self._module(spec, weights, x, training)
        inputs = tensor(x).requires_grad_()
        own = self._parameters(module, spec)
        parameters = {n: own[n] for n in weights if n in own and n not in RUNNING}
        wanted = [inputs, *parameters.values()]
        dx, *grads = torch.autograd.grad(module(inputs), wanted, tensor(dz))
        named = zip(parameters, grads, strict=True)
        return array(dx), {n: array(g).reshape(weights[n].shape) for n, g in named}

    def _module(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool
    ) -> torch.nn.Module:
        if (why := self.supports(spec, x.dtype.name)) is not True:
            raise NotImplementedError(why)
        if training and x.size == spec.channels:
            raise NotImplementedError("torch refuses the batch statistics of a single value")
        module = self.build(spec).to(tensor(x).dtype)
        for own in module.parameters():
            torch.nn.init.zeros_(own)  # its biases, where the spec has none
        parameters = self._parameters(module, spec)
        for name, value in weights.items():
            if name in parameters:
                parameters[name].data.copy_(tensor(value).reshape(parameters[name].shape))
            elif np.any(value):
                raise NotImplementedError(f"{self.name} has no {name}")
        return module.train(training)

    def _parameters(self, module: torch.nn.Module, spec: NonLocalSpec) -> dict[str, torch.Tensor]:
        """The module's tensors by nlcore's names, but for a bias that it does not have."""
        own = module.state_dict(keep_vars=True)
        return {name: own[place.name] for name, place in block_places(self.origin, spec).items()}


def tensor(value: np.ndarray) -> torch.Tensor:
    """A tensor with the array's values, and its memory layout where torch has such tensors."""
    native = value.astype(value.dtype.newbyteorder("="), copy=not value.flags.writeable)
    if any(stride < 0 for stride in native.strides):
        native = native.copy()
    if native.dtype.name == "bfloat16":  # which torch knows, but not NumPy's form of it
        return torch.from_numpy(native.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(native)
