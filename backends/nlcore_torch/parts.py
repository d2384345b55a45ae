"""The parts of a block that hold weights: the linear layers theta, phi, g and out, and f.

A block computes several parts at once from their weights. If a part was changed, such as by a hook,
a wrapper, a parametrization or a replacement, the block calls it instead, as a block of
convolutions would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.module_tracker import ModuleTracker

from nlcore import NonLocalSpec
from nlcore.weights import init_std, starts_constant
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
    if name == "f":
        part = PairWeights(spec.inner_channels, spec.pair_bias, **options)
    else:
        sizes = (spec.channels, spec.inner_channels)
        # exactly torch's class, because tools such as quantization look for it
        part = nn.Linear(*(sizes[::-1] if name == "out" else sizes), bias=spec.bias, **options)
    # an attribute of the object, so that FSDP resets each part after its weights were on "meta"
    part.__dict__["reset_parameters"] = partial(initialize, name, part)
    return part


@torch.no_grad()
def reset_part(spec: NonLocalSpec, init: str, identity: bool, name: str, part: nn.Module) -> None:
    """Initialize the weights of a part again, with torch's random generator."""
    for kind, parameter in part.named_parameters(recurse=False):
        constant = starts_constant(spec, f"{name}.{kind}", identity)
        if constant is None:
            nn.init.normal_(parameter, 0.0, init_std(spec, f"{name}.{kind}", init))
        else:
            nn.init.constant_(parameter, constant)


def is_unchanged(part: nn.Module) -> bool:
    """Whether a call of the part would do no more than its class does with its weights."""
    return (
        type(part) in (nn.Linear, PairWeights)
        and "forward" not in part.__dict__  # some tools replace it on the object
        and not part._forward_hooks
        and not part._forward_pre_hooks
        and not part._backward_hooks
        and not part._backward_pre_hooks
    )


def calls_are_watched() -> bool:
    """Whether something observes the calls of every module: a global hook, or a trace of them.

    The hooks of a ModuleTracker do not count. They only name the modules for FlopCounterMode, which
    has to count what is computed without it.
    """
    return torch.jit.is_tracing() or (_has_any_global_hook() and not all(map(_tracks, _hooks())))


def _hooks() -> Iterator[Any]:
    """The hooks of every module."""
    for kind in ("forward", "forward_pre", "backward", "backward_pre"):
        yield from getattr(torch.nn.modules.module, f"_global_{kind}_hooks").values()


def _tracks(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), ModuleTracker)


@torch.no_grad()
def weights_of(name: str, part: Any, inputs: int) -> dict[str, Tensor]:
    """The weights by kind, "weight" and "bias", with which the part of this name computes.

    A linear part of another class, such as one with a LoRA adapter, is called with the basis
    vectors of its inputs. Its weight is then known up to rounding.

    Raises
    ------
    TypeError
        f is of another class.
    """
    part = getattr(part, "module", part)  # of DistributedDataParallel, FSDP and others
    known = (nn.Linear.forward, PairWeights.forward)
    if type(part).forward in known and "forward" not in part.__dict__:
        return current_weights(part)
    if name == "f":
        raise TypeError(f"f must be a {PairWeights.__name__}; received a {type(part).__name__}")
    like = next((p for p in part.parameters() if p.is_floating_point()), torch.empty(0))
    basis = torch.eye(inputs, dtype=like.dtype, device=like.device)  # (C, C)
    with evaluating(part):
        bias = part(torch.zeros_like(basis[:1]))  # (1, D)
        return {"weight": (part(basis) - bias).mT, "bias": bias[0]}


@torch.no_grad()
def current_weights(layer: nn.Module) -> dict[str, Tensor]:
    """The weight, the bias and the running statistics with which a layer of torch computes."""
    if "weight" in layer.__dict__:  # a hook, as of weight_norm, computes it before each call
        with evaluating(layer):
            for hook in layer._forward_pre_hooks.values():
                hook(layer, ())
    kinds = ("weight", "bias", "running_mean", "running_var")
    found = {kind: getattr(layer, kind, None) for kind in kinds}
    return {kind: value for kind, value in found.items() if isinstance(value, Tensor)}
