"""How often the suite rejects a right implementation, and how near the largest ratio comes to 1.

python benchmarks/false_alarms.py --backend torch --backend nlcore_conformance.backend.plain:backend \
    --examples 20000 --json torch.json

Each example is one case of one check in one dtype, judged for each of the backends; no failure is
expected. hypothesis draws rules and sizes, and each draw is judged with several sets of numbers:
that is cheaper, above all where a backend compiles for every shape. One process can hold one Keras
engine. `--page` writes docs/false_alarms.md from the files of several runs.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import hypothesis
import numpy as np
import typer
from hypothesis import HealthCheck, Phase, given, settings
from rich.progress import track

from nlcore.spec import FLOATS
from nlcore_conformance.checks.catalogue import Check, checks
from nlcore_conformance.run.coverage import allowed_templates
from nlcore_conformance.checks.judging import Failed, attempt, reproduction
from nlcore_conformance.problems.named import problems
from nlcore_conformance.problems.case import Case
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.backend.protocol import dtypes as dtypes_of
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.run.runner import PROFILES
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import by_place

SIZES = Sizes(channels=12, wide=128, axis=(16, 6, 4))


@dataclass
class Tally:
    """What came of one backend in one dtype."""

    examples: int = 0
    elements: int = 0
    unpredictable: int = 0
    vacuous: int = 0
    worst: dict[str, dict[str, float]] = field(default_factory=dict)  # check -> output -> ratio
    alarms: list[str] = field(default_factory=list)  # lines to paste

    @property
    def largest(self) -> float:
        return max((r for outputs in self.worst.values() for r in outputs.values()), default=0.0)

    def add(self, other: Tally) -> None:
        """Count what another run has counted."""
        for name in ("examples", "elements", "unpredictable", "vacuous"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.alarms += other.alarms
        for check, outputs in other.worst.items():
            worst = self.worst.setdefault(check, {})
            for output, ratio in outputs.items():
                worst[output] = max(ratio, worst.get(output, 0.0))


def judge(tally: Tally, name: str, backend: Backend, check: Check, case: Case) -> None:
    """Count one example."""
    try:
        judgements = attempt(check, backend, case)
    except NotImplementedError:
        return
    except Failed as error:
        tally.alarms.append(reproduction(name, check.name, case))
        judgement = error.failure.judgement
        judgements = [] if judgement is None else [judgement]
    tally.examples += 1
    worst = tally.worst.setdefault(check.name, {})
    for j in judgements:
        tally.elements += j.elements
        tally.unpredictable += j.unpredictable
        tally.vacuous += j.vacuous
        worst[j.output] = max(j.ratio, worst.get(j.output, 0.0))


def _keep(backend: Backend, found: list[Case], case: Case) -> None:
    if supports(backend, case.spec, case.dtype) is True:
        found.append(case)


def examples(
    check: Check,
    backend: Backend,
    dtype: str,
    draws: int,
    numbers: int,
    seed: int,
    sizes: Sizes,
    named: int,
) -> Iterator[Case]:
    """Cases of the check: named problems, then what hypothesis draws, each with several numbers."""
    allowed, _ = allowed_templates(backend, check.applies)
    for turn in range(named):
        for case in problems(check, allowed, (dtype,), seed + turn):
            if supports(backend, case.spec, dtype) is True:
                yield case
    groups = by_place(allowed)
    rng = np.random.default_rng(seed)
    for place, group in enumerate(groups):
        found: list[Case] = []
        keep = partial(_keep, backend, found)

        @hypothesis.seed(seed + place)
        @settings(
            max_examples=-(-draws // len(groups)),
            phases=(Phase.generate,),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases(group, (dtype,), sizes, check.training, check.data, check.layouts))
        def draw(case: Case) -> None:
            keep(case)  # noqa: B023, called below only

        draw()
        for case in found:
            yield case
            for _ in range(numbers - 1):
                data, layout = rng.choice(check.data), rng.choice(check.layouts)
                number = int(rng.integers(2**31))
                yield replace(case, data=str(data), layout=str(layout), seed=number)


def main(
    backend: Annotated[list[str], typer.Option(help="As for nlcore-conformance run.")] = [],  # noqa: B006
    examples_: Annotated[int, typer.Option("--examples", help="For each dtype.")] = 20000,
    numbers: Annotated[int, typer.Option(help="Sets of numbers for each draw.")] = 5,
    dtype: Annotated[list[str], typer.Option(help="Only these.")] = list(FLOATS),  # noqa: B006
    only: Annotated[str, typer.Option(help="Checks whose name contains this.")] = "",
    full: Annotated[bool, typer.Option(help="Sizes as in profile full.")] = False,
    named: Annotated[int, typer.Option(help="How often to draw the named problems' rules.")] = 3,
    seed: int = 0,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
    page: Annotated[
        list[Path], typer.Option(help="Write docs/false_alarms.md from these files instead.")
    ] = [],  # noqa: B006
) -> None:
    """Judge right implementations, which should pass."""
    if page:
        write_page(page)
        return
    loaded = {name: load(name) for name in backend}
    known = [c for c in checks() if only in c.name]
    share = {c.name: c.weight / sum(c.weight for c in known) for c in known}
    tallies: dict[str, dict[str, Tally]] = {name: {} for name in backend}
    start = time.perf_counter()
    for current in dtype:
        taking = {n: b for n, b in loaded.items() if current in dtypes_of(b)}
        if not taking:
            continue
        for name in taking:
            tallies[name][current] = Tally()
        for check in known:
            able = {
                n: b for n, b in taking.items() if not check.needs_vjp or hasattr(b, "block_vjp")
            }
            draws = -(-int(examples_ * share[check.name] * 1.02) // numbers)
            first = next(iter(able.values()))
            sizes = PROFILES["full"].sizes if full else SIZES
            every = list(examples(check, first, current, draws, numbers, seed, sizes, named))
            for case in track(every, f"{current:9} {check.name}", disable=not sys.stderr.isatty()):
                for name, one in able.items():
                    judge(tallies[name][current], name, one, check, case)
            print(
                current, check.name, len(every), f"{time.perf_counter() - start:.0f} s", flush=True
            )
            write(json_, backend, tallies, seed, numbers)
    for name, by_dtype in tallies.items():
        for current, tally in by_dtype.items():
            print(f"{name} {current}: {tally.examples} examples, {len(tally.alarms)} alarms, "
                  f"largest ratio {tally.largest:.3g}")  # fmt: skip
            print("\n".join(tally.alarms))
    sys.exit(any(t.alarms for by_dtype in tallies.values() for t in by_dtype.values()))


def write(
    file: Path | None,
    backends: list[str],
    tallies: dict[str, dict[str, Tally]],
    seed: int,
    numbers: int,
) -> None:
    """What is known so far."""
    if file is None:
        return
    runs = {
        name: {d: {**vars(t), "largest": t.largest} for d, t in by_dtype.items()}
        for name, by_dtype in tallies.items()
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = {"seed": seed, "numbers": numbers, "machine": machine, "runs": runs}
    file.write_text(json.dumps(text, indent=1))


PAGE = Path(__file__).parents[1] / "docs" / "false_alarms.md"
HEAD = """# False alarms

A right implementation must not fail. `benchmarks/false_alarms.py` judges implementations that are
taken to be right by the suite's checks, in each dtype; what counts as an example is one case of one
check. An alarm would be a ratio above 1. This page was written by

```
python benchmarks/false_alarms.py {arguments}
```

from runs on {machines} (seeds {seeds}).

| implementation | dtype | examples | elements judged | not judged | alarms | largest ratio |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""
LOOSE = """
## The largest ratio of each bound

The largest ratio that any of them has reached in float32, for each check and output: how far the
bounds are above what an honest implementation needs. Where exact equality is asked it is 0;
"rescaling" is by powers of two, which changes no rounding, but for underflow.

| check | largest ratio by output |
| --- | --- |
"""


def write_page(files: list[Path]) -> None:
    """docs/false_alarms.md, from the JSON of several runs."""
    runs = [json.loads(file.read_text()) for file in files]
    text = HEAD.format(
        arguments=" ".join(f"--page {file.name}" for file in files),
        machines="; ".join(sorted({run["machine"] for run in runs})),
        seeds=", ".join(sorted({str(run["seed"]) for run in runs})),
    )
    by_name: dict[str, dict[str, Tally]] = {}
    for run in runs:
        for name, dtypes in run["runs"].items():
            for dtype, counted in dtypes.items():
                counted.pop("largest")
                by_name.setdefault(name, {}).setdefault(dtype, Tally()).add(Tally(**counted))
    for name, tallies in by_name.items():
        for dtype in (d for d in FLOATS if d in tallies):
            t = tallies[dtype]
            text += (
                f"| {name} | {dtype} | {t.examples:,} | {t.elements - t.unpredictable:,} | "
                f"{t.unpredictable / t.elements:.1%} | {len(t.alarms)} | {t.largest:.3f} |\n"
            )
    text += LOOSE
    largest = Tally()
    for tallies in by_name.values():
        largest.add(tallies.get("float32", Tally()))
    for check, seen in largest.worst.items():
        cells = [f"{output} {ratio:.2g}" for output, ratio in seen.items()]
        text += f"| {check} | {', '.join(cells)} |\n"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
