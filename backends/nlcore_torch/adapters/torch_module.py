"""A backend for a torch module of another package, the base class of the adapters in this folder.

An adapter translates a spec into arguments of the module's constructor. The parameters' names, and
the rules that no argument can change, are those of `nlcore.checkpoints.block_origins`. The code of
the package is not changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch

from nlcore import NonLocalSpec
from nlcore.checkpoints.block_origins import block_places, named_origin
from nlcore.weights import RUNNING
from nlcore_torch.arrays import array

Weights = Mapping[str, np.ndarray]
#: A rule that a spec must satisfy, in words -> whether the spec satisfies it.
Rules = dict[str, bool]


class TorchModule(ABC):
    """A backend for one class of a package.

    Parameters
    ----------
    origin : str
        Name of the package in `nlcore.checkpoints.block_origins`.
    name : str
        Name of the backend: the package and the class.
    defaults : bool
        Whether to use the defaults of the constructor, for `nlcore-conformance identify`. The spec
        then determines only the sizes and the pairwise function, and batch normalization and
        subsampling if the constructor has arguments for them. Its other fields are ignored.
    """

    dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")

    def __init__(self, origin: str, name: str, defaults: bool = False) -> None:
        self.origin = origin
        self.name = f"{name} by default" if defaults else name
        self.defaults = defaults

    def form(self, spec: NonLocalSpec) -> Rules:
        """Rules that the spec must satisfy for a module with its weights to exist."""
        return {rule.words: rule.holds for rule in named_origin(self.origin).form(spec)}

    def rules(self, spec: NonLocalSpec) -> Rules:
        """Rules that describe what the module computes for any constructor arguments."""
        return {limit.words: limit.holds for limit in named_origin(self.origin).limits(spec)}

    @abstractmethod
    def build(self, spec: NonLocalSpec) -> torch.nn.Module:
        """Construct the module for the spec. Fields that `rules` determine keep their defaults."""

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or the first rule that the spec does not satisfy."""
        rules = self.form(spec) | ({} if self.defaults else self.rules(spec))
        rules |= {f"dtype is one of {', '.join(self.dtypes)}": dtype in self.dtypes}
        return next((rule for rule, holds in rules.items() if not holds), True)

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """`nlcore.block` in x's dtype: x (B, C, *positions) -> z (B, C, *positions)."""
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
        """`nlcore.block_vjp` in x's dtype, by automatic differentiation: dx, dweights by name."""
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
            raise NotImplementedError("torch raises for batch statistics of a single value")
        module = self.build(spec).to(tensor(x).dtype)
        for own in module.parameters():
            torch.nn.init.zeros_(own)  # so that biases that the spec does not have are 0
        parameters = self._parameters(module, spec)
        for name, value in weights.items():
            if name in parameters:
                parameters[name].data.copy_(tensor(value).reshape(parameters[name].shape))
            elif np.any(value):
                raise NotImplementedError(f"{self.name} has no {name}")
        return module.train(training)

    def _parameters(self, module: torch.nn.Module, spec: NonLocalSpec) -> dict[str, torch.Tensor]:
        """The module's tensors by nlcore's names, without the weights that it does not have."""
        own = module.state_dict(keep_vars=True)
        return {name: own[place.name] for name, place in block_places(self.origin, spec).items()}


def tensor(value: np.ndarray) -> torch.Tensor:
    """Convert an array to a tensor. The memory layout stays the same if torch supports it."""
    native = value.astype(value.dtype.newbyteorder("="), copy=not value.flags.writeable)
    if any(stride < 0 for stride in native.strides):
        native = native.copy()
    if native.dtype.name == "bfloat16":  # torch does not accept the bfloat16 of ml_dtypes
        return torch.from_numpy(native.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(native)
