"""Whether operations are recorded in a graph, and how widely the graph is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def without_tracer_warnings() -> Iterator[None]:
    """A context in which `torch.jit.trace` does not warn that a size decides something."""
    if not torch.jit.is_tracing():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
