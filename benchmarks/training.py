"""python -m benchmarks.training: a network's training step, nlcore's blocks beside N x M ones."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track

from benchmarks import memory
from benchmarks.engines import Engine, about_device, about_engine, wait
from benchmarks.tasks import Task
from benchmarks.timing import interleaved, medians
from benchmarks.torch_blocks import Plain, attend
from nlcore.spec import PAIRWISE
from nlcore.video import NetworkSpec, placement
from nlcore_torch.insertion import non_local_blocks
from nlcore_torch.video.network import Network

#: Clips (B, 3, T, H, W) of 8 frames, for which the authors' code strides over time once.
CLIPS = (8, 3, 8, 112, 112)
STRIDES = (1, 1, 2)
NAMES = ("nlcore", "materialized", "without")

Call = Callable[[], object]


def main(
    seconds: Annotated[float, typer.Option(help="For each pairwise function.")] = 120.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("training.json"),
) -> None:
    """Time a training step of C2D ResNet-50 with 5 non-local blocks, and measure its peak memory.

    Beside it: the same network with blocks that hold all pairs, and without blocks.
    """
    progress, results = Console(stderr=True), []
    for pairwise in track(PAIRWISE, "training steps", console=progress):
        calls = {name: step(pairwise, name, device) for name in NAMES}
        found = interleaved(calls, seconds, synchronize=wait(device))
        if device == "cpu":
            peaks = {name: memory.peak(step, pairwise, name) for name in NAMES}
        else:
            peaks = {name: memory.peak_on_gpu(call, device) for name, call in calls.items()}
        print(pairwise, {name: f"{s:.3g} s" for name, s in medians(found).items()})
        print(pairwise, {name: f"{b / 2**20:.0f} MiB" for name, b in peaks.items()})
        results.append({"pairwise": pairwise, "seconds": found, "memory": peaks})
    about = {
        "engine": about_engine(Engine.torch),
        "device": about_device(device),
        "python": platform.python_version(),
    }
    output.write_text(json.dumps({**about, "training": results}, indent=1))


def step(pairwise: str, name: str, device: str = "cpu") -> Call:
    """A step of stochastic gradient descent (Nesterov) on one batch."""
    torch.manual_seed(0)
    block = {"pairwise": pairwise, "subsample": (1, 2, 2)}
    places = () if name == "without" else placement(50, 5)
    network = Network(NetworkSpec(50, "none", places, block, temporal_strides=STRIDES)).train()
    if name == "materialized":
        materialize(network)
    network.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    clips = torch.randn(CLIPS, device=device)
    labels = torch.randint(network.spec.classes, CLIPS[:1], device=device)

    def call() -> object:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(clips), labels)
        loss.backward()
        optimizer.step()
        return loss

    return call


def materialize(network: Network) -> None:
    """Put a block of the same weights that holds all pairs in the place of each of nlcore's."""
    for name, block in non_local_blocks(network).items():
        spec = block.spec
        task = Task(spec.channels, (), spec.pairwise, "both", spec.subsample)
        plain = Plain(task, dict(block.state_dict()), attend)
        torch.nn.init.zeros_(plain.bn.weight)  # the identity, as nlcore's start
        network.get_submodule(name.rpartition(".")[0]).non_local = plain


if __name__ == "__main__":
    typer.run(main)
