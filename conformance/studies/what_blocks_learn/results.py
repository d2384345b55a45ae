"""The results of trainings: files, a CSV file, and means over seeds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from what_blocks_learn.configurations import BY_NAME
from what_blocks_learn.intervals import Mean, mean

Result = dict[str, Any]
#: Columns of the CSV file.
COLUMNS = (
    *("task", "configuration", "seed", "films", "right", "groups", "groups_right", "loss"),
    *("parameters", "multiply_adds", "seconds"),
)
#: What stands in a cell before its trainings are done.
OPEN = "not run"
NO_BREAK = "\N{NO-BREAK SPACE}"


def read_results(folder: Path) -> list[Result]:
    """The results of all trainings that are done, sorted."""
    found = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    return sorted(found, key=lambda r: (r["task"], r["configuration"], r["seed"]))


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """One row for each training, without its curves."""
    rows = []
    for result in results:
        size = dict(zip(COLUMNS[-3:], BY_NAME[result["configuration"]].size(), strict=False))
        row = {**result, **size, "seconds": round(result["seconds"], 1)}
        rows.append({name: row[name] for name in COLUMNS})
    write_rows(path, rows)


def write_rows(path: Path, rows: Sequence[Result]) -> None:
    """Rows with the same keys as a CSV file. Numbers have five decimals at most."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, tuple(rows[0]) if rows else (), lineterminator="\n")
        out.writeheader()
        for row in rows:
            out.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})


def read_csv(path: Path) -> list[Result]:
    """The rows of the CSV file, with numbers as numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    words = ("task", "configuration", "colours")
    return [{k: v if k in words else float(v) for k, v in row.items()} for row in rows]


def accuracy(
    results: Iterable[Result], task: str, name: str, right: str = "right", of: str = "films"
) -> Mean | None:
    """The mean percentage over seeds, or None without results."""
    found = by_seed(results, task, name, right, of)
    return mean(list(found.values())) if found else None


def paired(results: Sequence[Result], task: str, name: str, other: str) -> Mean | None:
    """The mean over seeds of the difference in films that are right, in points.

    Trainings with one seed start from the same weights and read the same clips.
    """
    one, two = by_seed(results, task, name), by_seed(results, task, other)
    both = [one[seed] - two[seed] for seed in one if seed in two]
    return mean(both) if both else None


def by_seed(
    results: Iterable[Result], task: str, name: str, right: str = "right", of: str = "films"
) -> dict[int, float]:
    """Seed -> percentage."""
    own = (r for r in results if (r["task"], r["configuration"]) == (task, name))
    return {int(r["seed"]): 100.0 * r[right] / r[of] for r in own}


def percent(found: Mean | None, sign: bool = False) -> str:
    """A mean with its interval, as in the tables."""
    if found is None:
        return OPEN
    number = f"{found.value:{'+' if sign else ''}.1f}"
    if math.isnan(found.half):
        return f"{number} (1 seed)"
    return f"{number}{NO_BREAK}±{NO_BREAK}{found.half:.1f}"
