"""The sections of docs/speed.md on whole networks, from what three benchmarks have written."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

HEAD = """
## Whole networks, {engine}, {device}

`python -m benchmarks.networks` times ResNet-50 as C2D and I3D, with 5 non-local blocks (NL) and
without. All have the same weights and compute the same scores. Sizes are clips × frames
× height × width. A training step is forward, backward and an update (SGD with momentum), in
float32.

- **fused** is `Network.fused()`, which `evaluate` and the trainer's validation use: batch
  normalization is folded into the convolutions. The ratios of inference refer to this network.
- **bare products** are the convolutions and matrix products of the same call, on operands of the
  same shapes, without normalization, ReLU, pooling, softmax, sums and updates.
- **Peak** is the largest memory that a call allocates, beyond what was allocated before the call.
  Each call runs in a process of its own.
"""

STEPS = """
**Training, beside blocks that store all pairs.** `python -m benchmarks.training` times a step of
C2D R50 with 5 blocks, for 8 × 8 × 112 × 112. It also times the network with blocks that store all
pairs, and without blocks.
"""

KERAS = """
**{engine}.** `python -m benchmarks.keras_networks` times the
same architectures, with clips of {clips}. It compares nlcore's networks with the same
networks of Keras' own Conv3D layers.
"""


COMPILED = "- **compiled** is `torch.compile` of the fused network. Compiling takes minutes.\n"


def section(run: dict[str, Any]) -> str:
    """Two tables for each direction, times and peaks, with their explanation."""
    text = HEAD.format(**run)
    if any("compiled" in result["seconds"] for result in run["networks"]):
        text += COMPILED
    for direction in ("inference", "training"):
        results = [r for r in run["networks"] if r["direction"] == direction]
        if results:
            text += f"\n**{direction.capitalize()}.**\n\n" + "\n".join(_times(results)) + "\n"
            text += f"\n**{direction.capitalize()}, peak.**\n\n" + "\n".join(_peaks(results))
            text += "\n"
    return text


def _own(results: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Which network of nlcore is compared, and with which of others."""
    measured = {name for result in results for name in result["seconds"]}
    peers = [name for name in ("slowfast", "pytorchvideo") if name in measured]
    return "fused" if "fused" in measured else "nlcore", peers


def _task(result: dict[str, Any]) -> list[str]:
    """The network and its clips, which must not be divided at a line's end."""
    batch, _, *positions = result["clips"]
    return [result["architecture"], "×".join(map(str, (batch, *positions)))]


def _times(results: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each network and size: the times of the others over nlcore's."""
    own, peers = _own(results)
    fused = ["not fused / fused"] if own == "fused" else []
    compiled = ["compiled / fused"] if any("compiled" in r["seconds"] for r in results) else []
    head = ["network", "clips", own, *fused, *compiled, *(f"{name} / {own}" for name in peers)]
    yield _row([*head, f"{own} / bare products"])
    yield _row(["---", "---", *["---:"] * (len(head) - 1)])
    for result in results:
        seconds = {name: median(times) for name, times in result["seconds"].items()}
        ours = seconds[own]
        cells = [*_task(result), f"{ours:.3g} s"]
        cells += [f"{seconds['nlcore'] / ours:.2f}"] if fused else []
        others = [*(["compiled"] if compiled else []), *peers]
        cells += [f"{seconds[name] / ours:.2f}" if name in seconds else "" for name in others]
        yield _row([*cells, f"{ours / seconds['products']:.2f}" if "products" in seconds else ""])


def _peaks(results: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each network and size: the peaks of the others over nlcore's."""
    own, peers = _own(results)
    yield _row(["network", "clips", own, *(f"{name} / {own}" for name in peers)])
    yield _row(["---", "---", *["---:"] * (len(peers) + 1)])
    for result in results:
        held = result["memory"]
        if own in held:
            cells = [*_task(result), f"{held[own] / 2**20:.0f} MiB"]
            cells += [f"{held[name] / held[own]:.2f}" if name in held else "" for name in peers]
            yield _row(cells)


def steps_section(run: dict[str, Any]) -> str:
    """One table: the steps with each pairwise function."""
    return f"{STEPS}\n" + "\n".join(_steps(run["training"])) + "\n"


def _steps(results: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each pairwise function: times and peaks of the three networks."""
    head = ["pairwise", "nlcore", "all pairs / nlcore", "without blocks / nlcore"]
    yield _row([*head, "nlcore, peak", "all pairs, peak / nlcore's"])
    yield _row(["---", *["---:"] * 5])
    for result in results:
        seconds = {name: median(times) for name, times in result["seconds"].items()}
        ours, held = seconds["nlcore"], result["memory"]
        cells = [result["pairwise"].replace("_", " "), f"{ours:.3g} s"]
        cells += [f"{seconds[name] / ours:.2f}" for name in ("materialized", "without")]
        cells += [f"{held['nlcore'] / 2**20:.0f} MiB"]
        yield _row([*cells, f"{held['materialized'] / held['nlcore']:.2f}"])


def keras_section(run: dict[str, Any]) -> str:
    """One table for an engine of Keras."""
    batch, _, *positions = run["clips"]
    text = KERAS.format(engine=run["engine"], clips=" × ".join(map(str, (batch, *positions))))
    return f"{text}\n" + "\n".join(_convolutions(run["keras_networks"])) + "\n"


def _convolutions(results: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each network and direction."""
    yield _row(["network", "direction", "nlcore", "Keras' Conv3D / nlcore"])
    yield _row(["---", "---", "---:", "---:"])
    for result in results:
        seconds = {name: median(times) for name, times in result["seconds"].items()}
        ratio = f"{seconds['keras'] / seconds['nlcore']:.2f}"
        yield _row([result["network"], result["direction"], f"{seconds['nlcore']:.3g} s", ratio])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
