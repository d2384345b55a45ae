"""What the engines differ in: their calls, waiting for a device, and a call's peak memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import version

from benchmarks import memory
from benchmarks.tasks import Task

Calls = dict[str, Callable[[], object]]


class Engine(StrEnum):
    torch = "torch"
    tensorflow = "tensorflow"
    jax = "jax"


def calls(engine: Engine, task: Task, device: str, only: str = "") -> Calls:
    """The implementations by name, or `only` that."""
    if engine is Engine.torch:
        from benchmarks import torch_blocks

        return torch_blocks.calls(task, device, only)
    from benchmarks import keras_blocks

    return keras_blocks.calls(task, only)


def wait(device: str) -> Callable[[], object]:
    """What waits for the device."""
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def peak(engine: Engine, task: Task, device: str, name: str) -> int:
    """Peak bytes of one call above what is held before it."""
    if engine is Engine.jax:  # which keeps what it has freed
        from benchmarks import keras_blocks

        return keras_blocks.planned(task, name)
    if not device.startswith("cuda"):
        return memory.peak(prepared, engine, task, name)
    return memory.peak_on_gpu(calls(engine, task, device, name)[name], device)


def prepared(engine: Engine, task: Task, name: str) -> Callable[[], object]:
    return calls(engine, task, "cpu", name)[name]


def about_engine(engine: Engine) -> str:
    if engine is Engine.torch:
        return f"PyTorch {version('torch')}"
    package = {"tensorflow": "tensorflow-cpu", "jax": "jax"}[engine.value]
    return f"Keras {version('keras')} on {engine.value} {version(package)}, compiled by XLA"


def about_device(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"
