"""A backend for a torch module of another package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlcore import NonLocalSpec, weight_shapes
from nlcore.wrapped_block import Parameters, Rules, WrappedBlock
from nlcore_torch.arrays import array

Weights = Mapping[str, np.ndarray]


class ModuleBackend(WrappedBlock):
    """A backend for the conformance suite, from an `nn.Module` that takes x and returns z.

    For each call it builds a module, casts it to x's dtype, and loads the weights. Gradients are
    torch's.

    Parameters
    ----------
    name : str
        Name of the backend.
    build : callable
        ``build(spec)`` returns the module of a `nlcore.NonLocalSpec`.
    parameters : mapping, or callable
        nlcore's name of a weight -> its name in the module's state dict. Sizes of 1 may differ: a
        matrix (D, C) is also the weight (D, C, 1, 1, 1) of a convolution. A tuple of names is a
        parameter that stores several weights, one after the other along the axis of outputs:
        ``("theta.weight", "phi.weight", "g.weight"): "qkv.weight"``. None stands for a weight that
        the module does not have, and that must be 0. A callable returns such a mapping for a spec.
        A bias that the module has and the spec has not is set to 0.
    supports : mapping or callable, optional
        Strict: the specs that the module computes. A mapping of words to ``rule(spec)``, where the
        words of the first rule that is False are the reason, or a function ``supports(spec)`` that
        returns True or the reason. Lax, by default: every spec whose weights have a parameter.
        `build` then decides which fields are used, and `nlcore-conformance identify` finds out.
    dtypes : tuple of str
        Names of the dtypes that it computes in.
    axes : {"channels_first", "channels_last", "tokens"}
        What the module takes and returns: (B, C, *positions), (B, *positions, C) or (B, N, C).
    inputs_first : bool
        Whether matrices are (inputs, outputs), and not as in `nn.Linear`.
    output : callable
        z from what the module returns, such as ``lambda returned: returned[0]``.
    init : {"he", "he_fan_out", "normal"}, optional
        The distribution of a new module's weights (`nlcore.init_weights`), if it is one of these.

    Attributes
    ----------
    device : str
        The torch device that computes, such as "cpu" or "cuda".

    Raises
    ------
    ValueError
        An argument is wrong. In a call: the module has no parameter of a name that is given, or one
        of another shape. A parameter that can be trained stores no weight. z has another shape or
        dtype than x. The message contains both names or both shapes.
    TypeError
        On a call: `build` does not return a module, or the module does not return a tensor.
    NotImplementedError
        On a call: the spec is not supported. The message is the reason.

    Examples
    --------
    >>> from nlcore_torch import NonLocalBlock
    >>> backend = ModuleBackend(
    ...     "ours",
    ...     lambda spec: NonLocalBlock.from_spec(spec),
    ...     {name: name for name in ("theta.weight", "phi.weight", "g.weight", "out.weight")},
    ...     supports={"ndim is 2": lambda spec: spec.ndim == 2},
    ... )
    >>> backend.supports(NonLocalSpec(4, batch_norm=False), "float32")
    'ndim is 2'
    >>> backend.supports(NonLocalSpec(4, ndim=2), "float32")
    '`parameters` names no parameter for bn.weight'
    """

    device = "cpu"

    def __init__(
        self,
        name: str,
        build: Callable[[NonLocalSpec], nn.Module],
        parameters: Parameters | Callable[[NonLocalSpec], Parameters],
        *,
        supports: Rules | Callable[[NonLocalSpec], bool | str] | None = None,
        dtypes: tuple[str, ...] = ("float32",),
        axes: str = "channels_first",
        inputs_first: bool = False,
        output: Callable[[Any], Tensor] = lambda returned: returned,
        init: str | None = None,
    ) -> None:
        super().__init__(
            name,
            build,
            parameters,
            supports=supports,
            dtypes=dtypes,
            axes=axes,
            inputs_first=inputs_first,
            output=output,
            init=init,
        )

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """`nlcore.block` in x's dtype: x (B, C, *positions) -> z (B, C, *positions)."""
        module = self._module(spec, weights, x, training)
        with torch.no_grad():
            z = self._called(module, self._tensor(self._arranged(x)))
        return self._restored(array(z), x)

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
        own = _state(module)
        held = [p for p in self._held(spec, _shapes(own)) if p.learned]
        learned = {p.parameter: own[p.parameter].requires_grad_() for p in held}
        inputs = self._tensor(self._arranged(x)).requires_grad_()
        dx, *gradients = torch.autograd.grad(
            self._called(module, inputs),
            [inputs, *learned.values()],
            self._tensor(self._arranged(dz)),
            materialize_grads=True,  # 0 for a parameter without effect
        )
        found = {n: array(g) for n, g in zip(learned, gradients, strict=True)}
        return self._restored(array(dx), x), self._named(spec, held, found)

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        """The weights of a module that `build` has just returned, by nlcore's names."""
        if (why := self.supports(spec, self.dtypes[0])) is not True:
            raise NotImplementedError(why)
        own = _state(self._built(spec))
        held = self._held(spec, _shapes(own))
        found = self._named(spec, held, {p.parameter: array(own[p.parameter]).copy() for p in held})
        return {n: found.get(n, np.zeros(s, np.float32)) for n, s in weight_shapes(spec).items()}

    def _built(self, spec: NonLocalSpec) -> nn.Module:
        module = self._build(spec)
        if not isinstance(module, nn.Module):
            raise TypeError(f"build must return an nn.Module; received {type(module).__name__}")
        return module

    def _module(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool
    ) -> nn.Module:
        self._check(spec, weights, x)
        if training and x.size == spec.channels:
            raise NotImplementedError("torch raises for batch statistics of a single value")
        module = self._built(spec)
        # cast first, so that no weight is rounded to the dtype that it was built in
        module = module.to(self.device, getattr(torch, x.dtype.name))
        own = _state(module)
        learned = [name for name, p in module.named_parameters() if p.requires_grad]
        values = self._values(spec, weights, _shapes(own), learned)
        for name, value in values.items():
            own[name].data.copy_(tensor(value))
        return module.train(training)

    def _called(self, module: nn.Module, x: Tensor) -> Tensor:
        z = self._output(module(x))
        if not isinstance(z, Tensor):
            raise TypeError(
                f"{self.name} must return a tensor; received {type(z).__name__}. `output` chooses "
                "z from what it returns"
            )
        dtype, wanted = (str(t.dtype).removeprefix("torch.") for t in (z, x))
        self._check_output(z.shape, dtype, x.shape, wanted)
        return z

    def _tensor(self, value: np.ndarray) -> Tensor:
        return tensor(value).to(self.device)


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers by name."""
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def tensor(value: np.ndarray) -> Tensor:
    """Convert an array to a tensor. The memory layout stays the same if torch supports it."""
    native = value.astype(value.dtype.newbyteorder("="), copy=not value.flags.writeable)
    if any(stride < 0 for stride in native.strides):
        native = native.copy()
    if native.dtype.name == "bfloat16":  # torch does not accept the bfloat16 of ml_dtypes
        return torch.from_numpy(native.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(native)
