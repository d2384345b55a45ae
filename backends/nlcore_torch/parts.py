"""The parts of a block that hold weights: the linear layers theta, phi, g and out, and f.

A block computes several parts at once from their weights. If a part was changed, such as by a hook,
a wrapper, a parametrization or a replacement, the block calls it instead, as a block of
convolutions would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils.module_tracker import ModuleTracker

from nlcore import NonLocalSpec, weight_shapes
from nlcore.weights import has_bias, init_std, starts_constant
from nlcore_torch.modes import evaluating
from nlcore_torch.operation.concatenation import logit_share


class PairWeights(nn.Module):
    """f, the weights w_f and b_f of the concatenation's logits w_f . [theta_i, phi_j] + b_f."""

    def __init__(
        self,
        inner_channels: int,
        bias: bool,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * inner_channels, device=device, dtype=dtype))
        self.bias: nn.Parameter | None = None
        if bias:
            self.bias = nn.Parameter(torch.empty((), device=device, dtype=dtype))

    def forward(self, theta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        """The terms a (B, N, 1) and b (B, M, 1) of the logits a_i + b_j.

        theta is (B, N, D) and phi is (B, M, D).
        """
        theta_weight, phi_weight = self.weight.chunk(2)  # (D,), (D,)
        a = logit_share(theta, theta_weight, self.bias).unsqueeze(2)
        return a, logit_share(phi, phi_weight).unsqueeze(2)

    def extra_repr(self) -> str:
        return f"inner_channels={len(self.weight) // 2}, bias={self.bias is not None}"


class _Reset:
    """``initialize(name, part)`` as a function without arguments, which does not keep the part."""

    def __init__(
        self, initialize: Callable[[str, nn.Module], None], name: str, part: nn.Module
    ) -> None:
        self.initialize, self.name, self.part = initialize, name, ref(part)

    def __call__(self) -> None:
        part = self.part()
        assert part is not None  # its attribute is called
        self.initialize(self.name, part)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Reset:
        return _Reset(self.initialize, self.name, memo[id(self.part())])

    def __reduce__(self) -> tuple[Any, ...]:
        return _Reset, (self.initialize, self.name, self.part())


def new_part(
    spec: NonLocalSpec,
    name: str,
    initialize: Callable[[str, nn.Module], None],
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> nn.Module:
    """The part of this name. Its `reset_parameters` calls ``initialize(name, part)``."""
    options: dict[str, Any] = {"device": device, "dtype": dtype}
    part: nn.Module
    bias = has_bias(spec, name)
    if name == "f":
        part = PairWeights(spec.inner_channels, bias, **options)
    else:
        outputs, inputs = weight_shapes(spec)[f"{name}.weight"]
        # exactly torch's class, because tools such as quantization look for it
        part = nn.Linear(inputs, outputs, bias=bias, **options)
    # an attribute of the object, so that FSDP resets each part after its weights were on "meta"
    part.__dict__["reset_parameters"] = _Reset(initialize, name, part)
    return part


@torch.no_grad()
def reset_part(spec: NonLocalSpec, init: str, identity: bool, name: str, part: nn.Module) -> None:
    """Initialize the weights of a part again, with torch's random generator.

    Raises
    ------
    TypeError
        The part has other parameters than a weight and a bias, such as those of an adapter.
    """
    parameters = dict(part.named_parameters())
    if not parameters.keys() <= {"weight", "bias"}:
        raise TypeError(
            f"{name} must have a weight and a bias to be reset; received {sorted(parameters)}"
        )
    for kind, parameter in parameters.items():
        constant = starts_constant(spec, f"{name}.{kind}", identity)
        if constant is None:
            nn.init.normal_(parameter, 0.0, init_std(spec, f"{name}.{kind}", init))
        else:
            nn.init.constant_(parameter, constant)


def is_unchanged(part: nn.Module, bias: bool) -> bool:
    """Whether a call of the part would do no more than its class does with its weights.

    `bias` is whether it has a bias in the spec.
    """
    return (
        type(part) in (nn.Linear, PairWeights)
        and "forward" not in part.__dict__  # some tools replace it on the object
        and not part._forward_hooks
        and not part._forward_pre_hooks
        and not part._backward_hooks
        and not part._backward_pre_hooks
        and (part.bias is not None) is bias
        and type(part.weight) in (nn.Parameter, Tensor)  # not quantized, nor sharded
    )


def calls_are_watched() -> bool:
    """Whether something observes the calls of every module: a global hook, or a trace of them.

    The hooks of a ModuleTracker do not count. They only name the modules for FlopCounterMode, which
    has to count what is computed without it.
    """
    hooks = (
        *nn_module._global_forward_hooks.values(),
        *nn_module._global_forward_pre_hooks.values(),
        *nn_module._global_backward_hooks.values(),
        *nn_module._global_backward_pre_hooks.values(),
    )
    return torch.jit.is_tracing() or not all(map(_tracks, hooks))


def _tracks(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), ModuleTracker)


@torch.no_grad()
def weights_of(name: str, part: Any, inputs: int) -> dict[str, Tensor]:
    """The weights by kind, "weight" and "bias", with which the part of this name computes.

    A linear part of another class, such as one with a LoRA adapter, is called with the basis
    vectors of its inputs. Its weight is then known up to rounding. What a forward hook does to the
    output is not included.

    Raises
    ------
    TypeError
        The part is not linear, or f is of another class.
    """
    part = unwrapped(part)
    if type(part).forward is PairWeights.forward or (
        type(part).forward is nn.Linear.forward and "forward" not in part.__dict__
    ):
        return current_weights(part)
    if name == "f":
        raise TypeError(f"f must be a {PairWeights.__name__}; received a {type(part).__name__}")
    floats = [p for p in part.parameters() if p.is_floating_point()]
    like = floats[0] if floats else torch.empty(0)
    basis = torch.eye(inputs, dtype=like.dtype, device=like.device)  # (C, C)
    with evaluating(part):
        bias = part(torch.zeros_like(basis[:1]))  # (1, D)
        weight, opposite = part(basis) - bias, part(-basis) - bias  # (C, D), (C, D)
    largest = max(value.abs().max() for value in (weight, bias))
    # The bias is added and subtracted twice. A quantized layer, which has no parameters, rounds
    # each of its two inputs to eight bits.
    allowed = 4 * torch.finfo(like.dtype).eps if floats else 2 / 127
    if ((opposite + weight).abs() > allowed * largest).any():
        raise TypeError(f"{name} must be linear to have weights; received a {type(part).__name__}")
    return {"weight": weight.mT, "bias": bias[0]}


def unwrapped(module: Any) -> Any:
    """The module in the wrappers of torch: of checkpoints, FSDP, `torch.compile` and DDP."""
    for name in ("_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod"):
        module = getattr(module, name, module)
    return module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module


@torch.no_grad()
def current_weights(layer: nn.Module) -> dict[str, Tensor]:
    """The weight, the bias and the running statistics with which a layer of torch computes."""
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, (WeightNorm, SpectralNorm, BasePruningMethod)):
            with evaluating(layer):
                hook(layer, ())  # it computes a weight before each call
    kinds = ("weight", "bias", "running_mean", "running_var")
    found = {kind: getattr(layer, kind, None) for kind in kinds}
    return {kind: value for kind, value in found.items() if isinstance(value, Tensor)}
