"""python -m benchmarks: speed and memory of the block beside what a user would pick instead."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks import memory, page
from benchmarks.tasks import Task, growth, tasks
from benchmarks.timing import interleaved, medians

app = typer.Typer(add_completion=False, help=__doc__)
Only = Annotated[str, typer.Option(help="Only tasks whose line contains this.")]


@app.command()
def torch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where results go, as JSON.")],
    device: Annotated[str, typer.Option(help="cpu, or cuda and what else torch knows.")] = "cpu",
    dtype: str = "float32",
    seconds: Annotated[float, typer.Option(help="For each task.")] = 20.0,
    only: Only = "",
    with_memory: Annotated[bool, typer.Option("--memory/--no-memory")] = True,
) -> None:
    """PyTorch: nlcore beside mmcv, the N x M form, fused attention and the bare products."""
    import torch as library

    from benchmarks.torch_blocks import calls

    synchronize = library.cuda.synchronize if device.startswith("cuda") else lambda: None
    results = []
    chosen = [task for task in tasks(dtype) if only in line(task)]
    for task in track(chosen, "speed", console=Console(stderr=True)):
        found = interleaved(calls(task, device), seconds, synchronize=synchronize)
        results.append({"task": task.to_json(), "seconds": found, "memory": {}})
        print(line(task), {name: f"{1e3 * s:.1f} ms" for name, s in medians(found).items()})
    if with_memory:
        for result in track(results, "memory", console=Console(stderr=True)):
            task = Task.from_json(result["task"])
            names = [name for name in result["seconds"] if name != "products"]
            result["memory"] = {name: held(task, name, device) for name in names}
            print(line(task), {n: f"{b / 2**20:.1f} MiB" for n, b in result["memory"].items()})
    write(file, "PyTorch " + library.__version__, device_name(device), results)


@app.command("growth")
def growth_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where results go, as JSON.")],
    device: str = "cpu",
    only: Only = "",
) -> None:
    """PyTorch: time and peak memory as N doubles."""
    import torch as library

    from benchmarks.torch_blocks import calls

    results = []
    for task in track([t for t in growth() if only in line(t)], console=Console(stderr=True)):
        found = interleaved(calls(task, device, "nlcore"), 5.0)
        bytes_ = held(task, "nlcore", device)
        results.append({"task": task.to_json(), "seconds": found, "memory": {"nlcore": bytes_}})
        print(line(task), f"{1e3 * medians(found)['nlcore']:.1f} ms, {bytes_ / 2**20:.1f} MiB")
    write(file, "PyTorch " + library.__version__, device_name(device), results)


@app.command("page")
def page_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Of the other commands.")],
    output: Annotated[Path, typer.Option(help="The folder of the page.")] = Path("docs"),
) -> None:
    """Write the tables, the CSV and the plots of docs/speed.md from results."""
    page.write([json.loads(file.read_text()) for file in files], output)


def line(task: Task) -> str:
    """A task in a few words."""
    size = "x".join(map(str, task.positions))
    pooled = f"pooled {'x'.join(map(str, task.subsample))}" if task.subsample else "unpooled"
    return f"{task.name} {task.channels} {size} {pooled} {task.pairwise} {task.direction}"


def held(task: Task, name: str, device: str) -> int:
    """Peak bytes of one call above what is held before it."""
    if device.startswith("cuda"):
        import torch as library

        from benchmarks.torch_blocks import calls

        call = calls(task, device, name)[name]
        call()
        library.cuda.synchronize()
        library.cuda.reset_peak_memory_stats()
        before = library.cuda.memory_allocated()
        call()
        library.cuda.synchronize()
        return library.cuda.max_memory_allocated() - before
    return memory.peak(_torch_calls, task, name)


def _torch_calls(task: Task, name: str) -> tuple[Any, Any]:
    """The call on a small problem, and on the task's."""
    from dataclasses import replace

    from benchmarks.torch_blocks import calls

    small = replace(task, channels=16, positions=(2, 4, 4))
    return (calls(t, "cpu", name)[name] for t in (small, task))


def write(file: Path, engine: str, device: str, results: list[dict[str, Any]]) -> None:
    text = {
        "engine": engine,
        "device": device,
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "results": results,
    }
    file.write_text(json.dumps(text, indent=1))


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch as library

        return library.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


if __name__ == "__main__":
    app()
