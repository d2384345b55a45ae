"""Whether operations are recorded in a graph, and how widely the graph is used."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor


def records() -> bool:
    """Whether a graph is being recorded, by `torch.compile`, `torch.export` or `torch.jit.trace`.

    A compiler decides itself what to store for the gradient. A traced graph has no place for a
    `torch.autograd.Function`.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def exports() -> bool:
    """Whether the recorded graph is saved, so that it has to serve other sizes too."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """The result of an autograd function. Without gradients and in an exported graph, which has
    none, it is computed by `forward` alone.

    torch's own `apply` takes as long as a small product. Half of this time goes into the signature
    of `forward`, which torch computes in each call unless the function already has it.
    """
    forward: Any = function.forward
    if exports() or not torch.is_grad_enabled():
        return forward(*arguments)
    if not records() and not hasattr(forward, "__signature__"):
        forward.__signature__ = inspect.signature(forward)
    return function.apply(*arguments)


def unrecorded(function: Callable[..., tuple[Tensor, ...]], *arguments: Any) -> tuple[Tensor, ...]:
    """The results of a function that changes its own arrays in place, without their gradients.

    All tensors have a batch axis first. Under `torch.vmap`, the mapped axis is folded into it,
    because torch cannot map what is done in place.
    """
    return function(*arguments) if records() else _Unrecorded.apply(function, *arguments)


def differentiates(d: Tensor) -> bool:
    """Whether a backward direction that receives d must be differentiable, or mapped by torch.

    It is differentiated under `create_graph=True`. Under `is_grads_batched=True` it is mapped, and
    torch does not call the rule of `_Unrecorded`.
    """
    if torch.is_grad_enabled():
        return True
    return not records() and torch._C._functorch.is_legacy_batchedtensor(d)


class _Unrecorded(torch.autograd.Function):
    """What `unrecorded` returns."""

    @staticmethod
    def forward(function: Callable[..., tuple[Tensor, ...]], *arguments: Any) -> Any:
        return function(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        folded = list(arguments)
        for n, (argument, dim) in enumerate(zip(arguments, in_dims, strict=True)):
            if isinstance(argument, Tensor):  # (K, B, ...)
                mapped = argument.unsqueeze(0) if dim is None else argument.movedim(dim, 0)
                folded[n] = mapped.expand(info.batch_size, *mapped.shape[1:]).flatten(0, 1)
        found = _Unrecorded.apply(*folded)
        unfolded = tuple(array.unflatten(0, (info.batch_size, -1)) for array in found)
        return unfolded, (0,) * len(found)


def without_tracer_warnings() -> AbstractContextManager[object]:
    """A context in which `torch.jit.trace` does not warn that a size decides something."""
    return _without_tracer_warnings() if torch.jit.is_tracing() else nullcontext()


@contextmanager
def _without_tracer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
