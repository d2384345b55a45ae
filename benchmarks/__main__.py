"""python -m benchmarks: speed and memory of the block beside what a user would pick instead."""

from __future__ import annotations

import json
import os
import platform
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.engines import Engine, about_device, about_engine, calls, peak, wait
from benchmarks.tasks import Task, growth, tasks
from benchmarks.timing import interleaved, medians


def main(
    engine: Annotated[Engine, typer.Option(help="nlcore_torch, or nlcore_keras on it.")] = (
        Engine.torch
    ),
    device: Annotated[str, typer.Option(help="cpu, or for torch cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Of the weights and of x.")] = "float32",
    seconds: Annotated[float, typer.Option(help="For each task.")] = 20.0,
    only: Annotated[str, typer.Option(help="Only tasks whose line contains this.")] = "",
    peaks: Annotated[bool, typer.Option("--memory/--no-memory")] = True,
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("benchmarks.json"),
) -> None:
    """Time a block beside what a user would pick instead, and measure the peak memory of each.

    Then nlcore's time and memory as N doubles. `python -m benchmarks.page FILE...` makes the page.

    Other commands, each with --help: `python -m benchmarks.networks` times whole networks beside
    other projects', `python -m benchmarks.training` a training step with other blocks,
    `python -m benchmarks.keras_networks` the networks of Keras, and `python -m benchmarks.videos`
    loading clips, and the loop of a training.
    """
    if engine is not Engine.torch and device != "cpu":
        raise typer.BadParameter(f"--device {device} goes with --engine torch; received {engine}")
    if engine is not Engine.torch:
        os.environ["KERAS_BACKEND"] = engine.value  # before Keras is imported, here and in children
    progress = Console(stderr=True)
    chosen = [task for task in chain(tasks(dtype), growth(dtype)) if only in task.line]
    results: list[dict[str, Any]] = []
    about = {
        "engine": about_engine(engine),
        "device": about_device(device),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }

    def save() -> None:  # after every task, since all of them take an hour
        output.write_text(json.dumps({**about, "results": results}, indent=1))

    for task in track(chosen, "speed", console=progress):
        own = "nlcore" if task.name == "growth" else ""
        found = interleaved(calls(engine, task, device, own), seconds, synchronize=wait(device))
        results.append({"task": task.to_json(), "seconds": found, "memory": {}})
        save()
        print(task.line, {name: f"{1e3 * s:.1f} ms" for name, s in medians(found).items()})
    for result in track(results if peaks else [], "memory", console=progress):
        task = Task.from_json(result["task"])
        for name in result["seconds"]:
            if name != "products":
                result["memory"][name] = peak(engine, task, device, name)
        print(task.line, {n: f"{b / 2**20:.1f} MiB" for n, b in result["memory"].items()})
        save()


if __name__ == "__main__":
    typer.run(main)
