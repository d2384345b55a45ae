"""Whether operations are recorded in a graph, and how widely the graph is used."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


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


def without_tracer_warnings() -> AbstractContextManager[object]:
    """A context in which `torch.jit.trace` does not warn that a size decides something."""
    return _without_tracer_warnings() if torch.jit.is_tracing() else nullcontext()


@contextmanager
def _without_tracer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
