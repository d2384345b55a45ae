"""python -m benchmarks.page FILE...: docs/speed.md and its CSV from measurements."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks import networks_page, videos_page
from benchmarks.tasks import Task

Results = list[dict[str, Any]]

#: The columns of the tables: who is set beside nlcore, and what it is called.
PEERS = {
    "mmcv": "mmcv",
    "materialized": "N × M form",
    "attention": "fused attention",
    "einsum": "einsum",
    "products": "bare products",
}
#: The space before the unit of a cell.
UNIT = re.compile(r"(?<=\d) (?=(?:m?s|MiB|clips/s) \|)")
HEAD = """# Speed and memory

These tables compare nlcore with other ways to compute the same network or block. [How nlcore
computes blocks fast](fast.md) explains the results, and lists [where nlcore is
slower](fast.md#where-nlcore-is-slower). Times are medians of interleaved runs in one process.
No GPU has been measured. To measure on another machine, see `python -m benchmarks --help`. With
`--device cuda`, this command, `benchmarks.networks` and `benchmarks.training` measure on a GPU.
"""
BLOCKS = """
## How to read the tables of blocks

- **The time** of another implementation is divided by nlcore's. Below 1, nlcore is slower.
- **Peak memory** is that of one call, without what was allocated before the call, in a process of
  its own. On a GPU it is what torch allocates for the call, and on JAX what XLA has planned for
  it. The other columns "peak" are divided by nlcore's.
- **Bare products** is the time of the four embeddings, and of a Gaussian's two products over all
  pairs, with their gradients, on operands of the same shapes. No Gaussian can do without them.
  The dot product needs more than these products. The concatenation needs less, because it can avoid
  most of the product for θ.
- **forward** is inference, without gradients. **both** is a training step, with the gradients of
  x and of every weight.
- **Sizes** are frames × rows × columns × channels: res4 is 4 × 14 × 14 × 1024, res3 is
  4 × 28 × 28 × 512, and res3 of 128 frames is 16 × 28 × 28 × 512. All tasks have one batch item.
- **The N × M form** stores all pairs of positions: see [How nlcore computes blocks fast](fast.md).
- A summary gives the range over all sizes. In the tables of growth, **time / half's** is the time
  divided by the time for half as many positions. **peak / half's** is the same ratio of the peaks.

{download}`speed.csv` contains every median in seconds and every peak in bytes.
"""

#: What a file contains beside its circumstances -> its section of the page.
SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "networks": networks_page.section,
    "training": networks_page.steps_section,
    "keras_networks": networks_page.keras_section,
    "videos": videos_page.section,
}
#: Functions of docs/figures/growth.py, which draws the plots when the site is built.
DRAWN = ("tensorflow", "jax", "pytorch")
GROWTH = """
```{{eval-rst}}
.. plot:: figures/growth.py {engine}
   :alt: Seconds and peak memory against N for each pairwise function, forward and in training.
```
"""


def main(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    output: Annotated[Path, typer.Option(help="The folder of the page.")] = Path("docs"),
) -> None:
    """Write the page, and beside it the CSV.

    Of a task that several files of one engine and device have, the last one's result counts.
    """
    runs: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    sections = dict.fromkeys(SECTIONS, "")
    for source in files:
        run = json.loads(source.read_text())
        kind = next((kind for kind in SECTIONS if kind in run), None)
        if kind:
            sections[kind] += SECTIONS[kind](run)
            continue
        of_tasks = runs.setdefault((run["engine"], run["device"]), {})
        of_tasks.update({json.dumps(r["task"]): r for r in run["results"]})
    videos = sections.pop("videos")
    text, rows = HEAD + "".join(sections.values()) + BLOCKS, []
    for (engine, device), of_tasks in runs.items():
        results = list(of_tasks.values())
        rows += [[engine, device, *row] for row in measurements(results)]
        grown = [r for r in results if r["task"]["name"] == "growth" and r["memory"]]
        compared = [result for result in results if result["task"]["name"] != "growth"]
        text += f"\n## {engine}, {device}\n"
        if compared:
            for title, table in TABLES.items():
                text += f"\n### {title}: {engine}\n\n" + "\n".join(table(compared)) + "\n"
        if grown:
            text += f"\n### Growth: {engine}\n"
            text += GROWTH.format(engine=next(n for n in DRAWN if n in engine.lower()))
            text += "\n" + "\n".join(growth_table(grown)) + "\n"
    page = UNIT.sub("\N{NO-BREAK SPACE}", text + videos)
    (output / "speed.md").write_text(page, encoding="utf-8")
    with (output / "speed.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(
            "engine device size channels positions subsample pairwise direction dtype "
            "implementation seconds runs bytes".split()
        )
        out.writerows(rows)


def measurements(results: Results) -> Iterator[list[Any]]:
    for result in results:
        task = Task.from_json(result["task"])
        sizes = ["x".join(map(str, s or ())) for s in (task.positions, task.subsample)]
        for name, times in result["seconds"].items():
            fields = [task.name, task.channels, *sizes, task.pairwise, task.direction, task.dtype]
            peak = result["memory"].get(name, "")
            yield [*fields, name, f"{median(times):.6f}", len(times), peak]


def compared_names(results: Results) -> list[str]:
    """Who is measured beside nlcore in any of the tasks."""
    return [n for n in PEERS if any(n in result["seconds"] for result in results)]


def task_cells(result: dict[str, Any]) -> list[str]:
    """Size, subsampling, pairwise function and direction."""
    task = Task.from_json(result["task"])
    pool = "x".join(map(str, task.subsample or ())) or "none"
    return [task.name, pool, task.pairwise.replace("_", " "), task.direction]


def summary(results: Results) -> Iterator[str]:
    """The fastest and the smallest other over nlcore: the range over all sizes."""
    head = ("pairwise", "direction", "fastest other, time / nlcore's")
    yield f"| {' | '.join(head)} | smallest other, peak / nlcore's |"
    yield "| --- | --- | ---: | ---: |"
    ranges: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for result in results:
        _, _, pairwise, direction = task_cells(result)
        for kind, ratios in zip(
            ("seconds", "memory"), ranges.setdefault((pairwise, direction), ([], [])), strict=True
        ):
            values = {n: median(v) if kind == "seconds" else v for n, v in result[kind].items()}
            others = [v for n, v in values.items() if n not in ("nlcore", "products")]
            if others and "nlcore" in values:
                ratios.append(min(others) / values["nlcore"])
    for key, (seconds, peaks) in ranges.items():
        cells = [_range(r) for r in (seconds, peaks)]
        yield "| " + " | ".join([*key, *cells]) + " |"


def time_table(results: Results) -> Iterator[str]:
    """A row for each task: the times of the others over nlcore's."""
    names = compared_names(results)
    yield (
        "| size | subsample | pairwise | direction | nlcore | "
        + " | ".join(
            f"{PEERS[n]} / nlcore" if n != "products" else "nlcore / bare products" for n in names
        )
        + " |"
    )
    yield "| --- | --- | --- | --- |" + " ---: |" * (len(names) + 1)
    for result in results:
        seconds = {name: median(times) for name, times in result["seconds"].items()}
        ours = seconds["nlcore"]
        cells = [*task_cells(result), _ms(ours)]
        for name in names:
            ratio = seconds.get(name, 0) / ours
            ratio = 1 / ratio if name == "products" and ratio else ratio
            cells.append(f"{ratio:.3g}" if ratio else "")
        yield "| " + " | ".join(cells) + " |"


def memory_table(results: Results) -> Iterator[str]:
    """A row for each task: the peak memory of the others over nlcore's."""
    names = [n for n in compared_names(results) if n != "products"]
    yield (
        "| size | subsample | pairwise | direction | nlcore | "
        + " | ".join(f"{PEERS[n]} / nlcore" for n in names)
        + " |"
    )
    yield "| --- | --- | --- | --- |" + " ---: |" * (len(names) + 1)
    for result in results:
        peaks = result["memory"]
        if "nlcore" in peaks:
            cells = [*task_cells(result), f"{peaks['nlcore'] / 2**20:.3g} MiB"]
            cells += [f"{peaks[n] / peaks['nlcore']:.3g}" if n in peaks else "" for n in names]
            yield "| " + " | ".join(cells) + " |"


def growth_table(results: Results) -> Iterator[str]:
    """Peak memory at each N over that at half of it: 2 is linear, 4 quadratic."""
    yield "| pairwise | direction | N | time | peak | time / half's | peak / half's |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    before: tuple[Any, ...] = ()
    for result in results:
        task = Task.from_json(result["task"])
        seconds, held = median(result["seconds"]["nlcore"]), result["memory"]["nlcore"]
        kind = (task.pairwise, task.direction)
        ratios = ["", ""]
        if before[:1] == (kind,):
            ratios = [f"{seconds / before[1]:.2f}", f"{held / before[2]:.2f}"]
        before = (kind, seconds, held)
        cells = [task.pairwise.replace("_", " "), task.direction, f"{task.queries:,}"]
        cells += [_ms(seconds), f"{held / 2**20:.3g} MiB", *ratios]
        yield "| " + " | ".join(cells) + " |"


def _ms(seconds: float) -> str:
    """Three digits and no exponent."""
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"


def _range(ratios: Sequence[float]) -> str:
    """The smallest and the largest, or one number if they are equal."""
    return " to ".join(dict.fromkeys(f"{f(ratios):.2g}" for f in (min, max))) if ratios else ""


#: The tables of an engine, the one with the point first.
TABLES = {"Summary": summary, "Time": time_table, "Peak memory": memory_table}


if __name__ == "__main__":
    typer.run(main)
