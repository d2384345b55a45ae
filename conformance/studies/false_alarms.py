"""How often the suite rejects a right implementation, and how near the largest ratio comes to 1.

    python conformance/studies/false_alarms.py --backend torch --examples 20000 --json torch.json

`--backend` may be given several times. Each example is one case of one check in one dtype. Every
backend is judged by it, and none should fail. hypothesis draws rules and sizes, and each draw is
judged with several sets of numbers. That is cheaper, above all where a backend compiles for every
shape. One process can run one Keras engine. `--page` writes docs/false_alarms.md from the files of
several runs.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import hypothesis
import numpy as np
import typer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from rich.progress import track

from nlcore.spec import FLOATS
from nlcore_conformance.backend.protocol import Backend, dtypes, supports
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.judging import Failed, attempt, reproduction
from nlcore_conformance.evidence import stamp
from nlcore_conformance.problems.case import Case
from nlcore_conformance.problems.named import problems
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import by_place
from nlcore_conformance.run.probing import allowed_templates
from nlcore_conformance.run.search import PROFILES

SIZES = Sizes(channels=12, wide=128, axis=(16, 6, 4))


@dataclass(frozen=True)
class Effort:
    """How many examples are drawn, and how large they are."""

    examples: int  # of all checks, in each dtype
    numbers: int  # sets of numbers for each draw
    named: int  # how often the named problems' rules are drawn
    seed: int
    sizes: Sizes


@dataclass
class Tally:
    """The outcome for one backend in one dtype."""

    examples: int = 0
    elements: int = 0
    unpredictable: int = 0
    vacuous: int = 0
    worst: dict[str, dict[str, float]] = field(default_factory=dict)  # check -> output -> ratio
    alarms: list[str] = field(default_factory=list)  # lines to paste

    @property
    def largest(self) -> float:
        """The largest ratio."""
        return max((r for outputs in self.worst.values() for r in outputs.values()), default=0.0)

    def add(self, other: Tally) -> None:
        """Add the counts of another run."""
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


def examples(
    check: Check, backend: Backend, dtype: str, draws: int, effort: Effort
) -> Iterator[Case]:
    """Cases of the check: named problems, then `draws` of hypothesis, each with several numbers."""
    allowed, _ = allowed_templates(backend, check.applies)
    for turn in range(effort.named):
        for case in problems(check, allowed, (dtype,), effort.seed + turn):
            if supports(backend, case.spec, dtype) is True:
                yield case
    groups = by_place(allowed)
    rng = np.random.default_rng(effort.seed)
    for place, group in enumerate(groups):
        strategy = cases(check, group, (dtype,), effort.sizes)
        for case in drawn(strategy, -(-draws // len(groups)), effort.seed + place):
            if supports(backend, case.spec, dtype) is not True:
                continue
            yield case
            for _ in range(effort.numbers - 1):
                data, layout = rng.choice(check.data), rng.choice(check.layouts)
                number = int(rng.integers(2**31))
                yield replace(case, data=str(data), layout=str(layout), seed=number)


def drawn(strategy: SearchStrategy[Case], count: int, seed: int) -> list[Case]:
    """`count` cases that hypothesis draws from the strategy."""
    found: list[Case] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def judge_all(
    loaded: dict[str, Backend], dtype: str, checks: list[Check], effort: Effort
) -> Iterator[tuple[Check, int, dict[str, Tally]]]:
    """Judge the backends in one dtype; yields each check, its examples, and the tallies so far."""
    tallies = {name: Tally() for name in loaded}
    whole = sum(check.weight for check in checks)
    for check in checks:
        able = {n: b for n, b in loaded.items() if hasattr(b, check.needs)}
        if not able:
            continue
        draws = -(-int(effort.examples * (check.weight / whole) * 1.02) // effort.numbers)
        first = next(iter(able.values()))
        every = list(examples(check, first, dtype, draws, effort))
        for case in track(every, f"{dtype:9} {check.name}", disable=not sys.stderr.isatty()):
            for name, backend in able.items():
                judge(tallies[name], name, backend, check, case)
        yield check, len(every), tallies


def main(
    backend: Annotated[
        list[str] | None, typer.Option(help="As for nlcore-conformance run.")
    ] = None,
    examples_: Annotated[int, typer.Option("--examples", help="For each dtype.")] = 20000,
    numbers: Annotated[int, typer.Option(help="Sets of numbers for each draw.")] = 5,
    dtype: Annotated[list[str] | None, typer.Option(help="Only these; by default all.")] = None,
    only: Annotated[str, typer.Option(help="Checks whose name contains this.")] = "",
    full: Annotated[bool, typer.Option(help="Sizes as in profile full.")] = False,
    named: Annotated[int, typer.Option(help="How often to draw the named problems' rules.")] = 3,
    seed: Annotated[int, typer.Option(help="Where the search starts.")] = 0,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results here.")
    ] = None,
    page: Annotated[
        list[Path] | None,
        typer.Option(help="Write docs/false_alarms.md from these files instead."),
    ] = None,
) -> None:
    """Judge right implementations, which should pass."""
    if page:
        write_page(page)
        return
    sizes = PROFILES["full"].sizes if full else SIZES
    effort = Effort(examples_, numbers, named, seed, sizes)
    loaded = {name: load(name) for name in backend or ()}
    chosen = [check for check in CHECKS if only in check.name]
    tallies: dict[str, dict[str, Tally]] = {name: {} for name in loaded}
    start = time.perf_counter()
    for current in dtype or FLOATS:
        able = {name: b for name, b in loaded.items() if current in dtypes(b)}
        for check, count, found in judge_all(able, current, chosen, effort) if able else ():
            for name, tally in found.items():
                tallies[name][current] = tally
            print(current, check.name, count, f"{time.perf_counter() - start:.0f} s", flush=True)
            write(json_, tallies)
    for name, by_dtype in tallies.items():
        for current, tally in by_dtype.items():
            print(
                f"{name} {current}: {tally.examples} examples, {len(tally.alarms)} alarms, "
                f"largest ratio {tally.largest:.3g}"
            )
            print("\n".join(tally.alarms))
    sys.exit(any(t.alarms for by_dtype in tallies.values() for t in by_dtype.values()))


def write(file: Path | None, tallies: dict[str, dict[str, Tally]]) -> None:
    """Write the tallies so far as JSON, if there is a file."""
    if file is None:
        return
    runs = {
        name: {dtype: {**vars(t), "largest": t.largest} for dtype, t in by_dtype.items()}
        for name, by_dtype in tallies.items()
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    command = f"python conformance/studies/false_alarms.py {shlex.join(sys.argv[1:])}"
    text = {"stamp": stamp(), "command": command, "machine": machine, "runs": runs}
    file.write_text(json.dumps(text, indent=1))


PAGE = Path(__file__).parents[2] / "docs" / "false_alarms.md"
HEAD = """# False alarms

A correct implementation must not fail. `conformance/studies/false_alarms.py` judges implementations
by the suite's checks, in each dtype. The implementations are taken to be correct. An
example is one case of one check. A ratio above 1 would be a false alarm.

Made with {stamp}, by

```console
{commands}
```

on {machines}.

| implementation | dtype | examples | elements judged | not judged | alarms | largest ratio |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""
LOOSE = """
## The largest ratio of each bound

This is the largest ratio that any of them has reached in float32, for each check and output. It
shows how much larger the bounds are than the error of a correct implementation. It is 0 if a
check requires equality. "rescaling" is by powers of two, which changes no rounding except for
underflow.

| check | largest ratio by output |
| --- | --- |
"""


def write_page(files: list[Path]) -> None:
    """Write docs/false_alarms.md from the JSON files of several runs."""
    runs = [json.loads(file.read_text()) for file in files]
    stamps = sorted({run["stamp"] for run in runs})
    if len(stamps) > 1:
        raise typer.BadParameter(f"the files are of different evidence: {', '.join(stamps)}")
    text = HEAD.format(
        stamp=stamps[0],
        commands="\n".join(run["command"] for run in runs),
        machines="; ".join(sorted({run["machine"] for run in runs})),
    )
    by_name = merged(runs)
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


def merged(runs: list[dict[str, Any]]) -> dict[str, dict[str, Tally]]:
    """backend -> dtype -> the tally of all runs, which `write` wrote."""
    by_name: dict[str, dict[str, Tally]] = {}
    for run in runs:
        for name, by_dtype in run["runs"].items():
            for dtype, counts in by_dtype.items():
                tally = Tally(**{key: value for key, value in counts.items() if key != "largest"})
                by_name.setdefault(name, {}).setdefault(dtype, Tally()).add(tally)
    return by_name


if __name__ == "__main__":
    typer.run(main)
