"""The processes of a training or test, and the device of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """One of the processes that compute together.

    Attributes
    ----------
    process, processes : int
        Number of the process from 0, and number of processes.
    device : torch.device
    """

    process: int
    processes: int
    device: torch.device

    def add(self, tensor: Tensor) -> None:
        """Replace a tensor by the sum over all processes, the same bits in each."""
        if self.processes > 1:
            dist.all_reduce(tensor)

    def add_all(self, tensors: Sequence[Tensor]) -> None:
        """`add` for tensors of one dtype. They are added as one, always in the same order."""
        if self.processes == 1 or not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(together)
        for tensor, part in zip(
            tensors, together.split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(part.view(tensor.shape))


@contextmanager
def place_of_process(device: str | None = None) -> Iterator[Place]:
    """The place of this process, as `torchrun` has set it, or that of one process alone.

    Parameters
    ----------
    device : str, optional
        Such as "cpu" or "cuda". By default "cuda" if there is one. Each process has its own.

    Raises
    ------
    ValueError
        PyTorch does not support the device.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if kind == "cuda" and "LOCAL_RANK" in os.environ:
        kind = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        own = torch.device(kind)
        torch.empty(0, device=own)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that PyTorch supports; received {kind!r}: {error}"
        ) from None
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if processes == 1:
        yield Place(0, 1, own)
        return
    began = not dist.is_initialized()
    if began:
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Place(process, processes, own)
    finally:
        if began:
            dist.destroy_process_group()
