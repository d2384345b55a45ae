"""The section of docs/speed.md on clips and training, from what benchmarks.videos has written."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

HEAD = """
## Clips and training, {engine}, {device}

`python -m benchmarks.videos` makes films of scikit-image's photographs, as large as Kinetics'
videos: H.264, 340 × 256, 30 frames a second, 10 s. Clips are the paper's: 32 of 64 frames, the
shorter side 256 to 320, 224 × 224 pixels. Each ratio is one of medians of interleaved runs.

**Loader.** "Bare" is PyAV, which seeks to the keyframe before a clip, decodes up to its last frame,
and lets FFmpeg scale the wanted frames, in as many processes. It neither crops nor normalizes, and
sends nothing to the process that trains. So it is the limit of a loader. torchcodec does the same.
"""
SEEKING = """
**Seeking.** With the number of frames that an index states, the reader decodes from the keyframe
before a clip, and reads the times of all packets to prove which frame is which. Without this
number, it decodes from the start. By default, x264 sets keyframes 250 frames apart.
"""
STEPS = """
**Loop.** The table compares an iteration of `nlcore-video train`, whose clips are decoded already,
with a step by hand: the same network, loss and optimizer on a batch in memory. The two are timed in
turn. The loop draws clips, checks the videos' files, makes batches, and writes the metrics.
"""
PROCESSES = """
**Processes.** The table compares training steps of NL C2D, a ResNet-50 with 5 blocks. Two processes
have one thread and half of the clips each, and sum their gradients by gloo. One process has two
threads and all clips.
[Several GPUs](several_gpus.md#what-the-processes-send) estimates the cost of more processes.
"""


def section(run: dict[str, Any]) -> str:
    """Four tables with their explanations."""
    found = run["videos"]
    return (
        HEAD.format(**run)
        + _text(loading(found["loading"]))
        + SEEKING
        + _text(seeking(found["seeking"]))
        + STEPS
        + _text(steps(found["steps"]))
        + PROCESSES
        + _text(processes(found["processes"]))
    )


def _text(lines: Iterator[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"


def loading(results: list[dict[str, Any]]) -> Iterator[str]:
    """Clips a second, and what nlcore reaches of the others."""
    peers = [n for n in ("bare", "torchcodec") if all(n in r["seconds"] for r in results)]
    yield _row("processes", "nlcore", "bare", *(f"nlcore / {n}" for n in peers))
    yield _row(*["---:"] * (3 + len(peers)))
    for result in results:
        speed = {n: result["clips"] / median(s) for n, s in result["seconds"].items()}
        name = str(result["workers"] or "none but this")
        clips = [f"{speed[n]:.1f} clips/s" for n in ("nlcore", "bare")]
        yield _row(name, *clips, *(f"{speed['nlcore'] / speed[n]:.2f}" for n in peers))


def seeking(results: list[dict[str, Any]]) -> Iterator[str]:
    """Time of a clip in both ways."""
    yield "| frames from keyframe to keyframe | seeking | from the start | ratio |"
    yield "| ---: | ---: | ---: | ---: |"
    for result in results:
        ms = {n: 1e3 * median(s) / result["clips"] for n, s in result["seconds"].items()}
        ratio = f"{ms['seeking'] / ms['from the start']:.2f}"
        yield _row(str(result["keyframes"]), *(f"{t:.1f} ms" for t in ms.values()), ratio)


def steps(results: list[dict[str, Any]]) -> Iterator[str]:
    """Time of a step in both ways."""
    yield "| network and clips | loop | by hand | ratio |"
    yield "| --- | ---: | ---: | ---: |"
    for result in results:
        s = {n: median(times) for n, times in result["seconds"].items()}
        times = [f"{s[n]:.3g} s" for n in ("loop", "by hand")]
        yield _row(result["size"].replace(" x ", " × "), *times, f"{s['loop'] / s['by hand']:.3f}")


def processes(results: list[dict[str, Any]]) -> Iterator[str]:
    """Time of a step in one process and in two, and what the sums take."""
    yield "| clips | one process | two processes | ratio | sums of gradients | share of a step |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for result in results:
        s = {n: median(times) for n, times in result["seconds"].items()}
        one, two, sums = s["one process"], s["processes"], s["sums"]
        times = [f"{one:.3g} s", f"{two:.3g} s", f"{two / one:.2f}", f"{1e3 * sums:.0f} ms"]
        batch, _, *positions = result["clips"].split("x")
        yield _row(" × ".join([batch, *positions]), *times, f"{100 * sums / two:.0f}%")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
