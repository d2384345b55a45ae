"""python -m benchmarks.videos: loader, loop and processes beside what they cannot do without."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.clip_loading import (
    decode_after_seek,
    decode_from_start,
    films_index,
    loaders,
    training_clips,
    wanted,
)
from benchmarks.engines import about_device
from benchmarks.films import GROUPS, make_films
from benchmarks.loop_steps import SIZES, steps
from benchmarks.process_steps import CLIPS as STEP
from benchmarks.process_steps import process_steps
from benchmarks.timing import interleaved, medians

#: Processes that load.
WORKERS = (0, 1, 2)
#: Clips of a run, which all are 32 frames.
CLIPS = 16


def main(
    seconds: Annotated[float, typer.Option(help="For each comparison of loaders.")] = 60.0,
    count: Annotated[int, typer.Option("--steps", help="Of each kind of step.")] = 15,
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("videos.json"),
) -> None:
    """Time what surrounds the network: loader, seeking, the training's loop, and its processes.

    Films are made of scikit-image's photographs: H.264, 340 x 256, 30 frames a second, 10 s. Clips
    are the paper's.
    """
    about = {
        "engine": f"PyTorch {version('torch')}, PyAV {version('av')}",
        "device": about_device("cpu"),
        "python": platform.python_version(),
    }
    kinds = ("loading", "seeking", "steps", "processes")
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    progress = Console(stderr=True)

    def add(kind: str, found: dict[str, list[float]], **what: Any) -> None:
        results[kind].append({**what, "seconds": found})
        print(kind, *what.values(), {n: f"{1e3 * s:.1f} ms" for n, s in medians(found).items()})
        output.write_text(json.dumps({**about, "videos": results}, indent=1))

    with tempfile.TemporaryDirectory() as folder:
        for group in track(GROUPS, "films", console=progress):
            index = films_index(make_films(Path(folder) / str(group), group))
            clips = training_clips(index)
            tasks = [wanted(clips, slot) for slot in range(CLIPS)]
            frames = index.videos[0].frames
            calls = {
                "seeking": lambda tasks=tasks, n=frames: [decode_after_seek(t, n) for t in tasks],
                "from the start": lambda tasks=tasks: [decode_from_start(t) for t in tasks],
            }
            add("seeking", interleaved(calls, seconds), keyframes=group, clips=CLIPS)
        # the last group's films are those of x264's own choice
        for workers in track(WORKERS, "loaders", console=progress):
            with loaders(clips, workers, CLIPS) as calls:
                add("loading", interleaved(calls, seconds), workers=workers, clips=CLIPS)
        for size in track(SIZES, "steps", console=progress):
            add("steps", steps(index, size, count), size=size)
        add("processes", process_steps(count), clips="x".join(map(str, STEP)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(main)
