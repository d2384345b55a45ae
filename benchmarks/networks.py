"""python -m benchmarks.networks: whole networks beside other projects' and the bare products."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from benchmarks import memory
from benchmarks.engines import Engine, about_device, about_engine, wait
from benchmarks.network_calls import PEERS, NetworkTask, call_of, tasks
from benchmarks.timing import interleaved, medians


def main(
    seconds: Annotated[float, typer.Option(help="For each network, besides three rounds.")] = 60.0,
    only: Annotated[str, typer.Option(help="Only tasks whose line contains this.")] = "",
    clips: Annotated[str, typer.Option(help="Clips of this size instead, BxTxHxW.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    peaks: Annotated[bool, typer.Option("--memory/--no-memory")] = True,
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("networks.json"),
) -> None:
    """Time ResNet-50 as C2D and I3D, with 5 non-local blocks and without, and measure its memory.

    Beside nlcore's: SlowFast's and pytorchvideo's networks, as far as they are installed, with the
    same weights, and the bare convolutions and matrix products of nlcore's.
    """
    chosen = [task for task in tasks() if only in task.line]
    if clips:
        batch, *positions = map(int, clips.split("x"))
        kinds = dict.fromkeys((task.architecture, task.direction) for task in chosen)
        chosen = [NetworkTask(*kind, (batch, 3, *positions)) for kind in kinds]
    packages = [f"{name} {version(name)}" for name in PEERS if name in chosen[0].names()]
    about = {
        "engine": ", ".join([about_engine(Engine.torch), *packages]),
        "device": about_device(device),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads())),
    }
    results: list[dict[str, Any]] = []
    for task in track(chosen, "networks", console=Console(stderr=True)):
        calls = {name: call_of(task, name, device) for name in task.names(device)}
        found = interleaved(calls, seconds, synchronize=wait(device))
        print(task.line, {name: f"{s:.3g} s" for name, s in medians(found).items()}, flush=True)
        held = {}
        for name in calls if peaks else ():
            if device != "cpu":
                held[name] = memory.peak_on_gpu(calls[name], device)
            elif name != "products":
                held[name] = memory.peak(call_of, task, name)
        print(task.line, {name: f"{b / 2**20:.0f} MiB" for name, b in held.items()}, flush=True)
        fields = {"architecture": task.architecture, "direction": task.direction}
        results.append({**fields, "clips": task.clips, "seconds": found, "memory": held})
        output.write_text(json.dumps({**about, "networks": results}, indent=1))


if __name__ == "__main__":
    typer.run(main)
