"""Metrics in CSV files, to which rows are appended as they come."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

#: The first column of every table: number of iterations that are done.
ITERATION = "iteration"


class MetricTable:
    """A CSV file with a row of numbers for some iterations.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Without "iteration", which is the first.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, (ITERATION, *columns)

    def append(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add a row. The shortest decimals are written that give the same numbers."""
        if set(values) != set(self.columns[1:]):
            raise ValueError(f"values must be {self.columns[1:]}; received {tuple(values)}")
        row = [iteration, *(repr(float(values[name])) for name in self.columns[1:])]
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(self.columns)
            writer.writerow(row)

    def keep_until(self, iteration: int) -> None:
        """Drop the rows after an iteration, and the half row of a run that was killed."""
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [",".join(self.columns) + "\n"]
        for line in lines[1:]:
            number = line.partition(",")[0]
            if line.endswith("\n") and number.isdigit() and int(number) <= iteration:
                kept.append(line)
        aside = self.path.with_name(f"{self.path.name}.writing")
        aside.write_text("".join(kept), encoding="utf-8")
        aside.replace(self.path)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table by name, float64. Empty if there is no such file.

    Raises
    ------
    ValueError
        A row does not have a number for each column.
    """
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    try:
        numbers = np.array([[float(value) for value in row] for row in rows], np.float64)
        numbers = numbers.reshape(len(rows), len(header))
    except ValueError as error:
        raise ValueError(f"{path} must have a number for each of {header}; {error}") from None
    return dict(zip(header, numbers.T, strict=True))
