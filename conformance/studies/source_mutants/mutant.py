"""Mutants: modules of a package with one edit each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from source_mutants.judging import Changed, Measured
from source_mutants.source import Edit, Source


@dataclass(frozen=True)
class Module:
    """A module of the package."""

    name: str
    file: str
    source: Source

    @property
    def short(self) -> str:
        """The file, from the package's folder on."""
        return self.name.replace(".", "/") + ".py"


@dataclass(frozen=True)
class Mutant:
    """A module with one edit."""

    module: Module
    edit: Edit

    def to_json(self) -> dict[str, Any]:
        before, after = self.module.source.shown(self.edit)
        return {
            "file": self.module.short,
            "line": self.edit.lines.start,
            "kind": self.edit.kind,
            "before": before,
            "after": after,
            "start": self.edit.start,
        }

    def overlaps(self, other: Mutant) -> bool:
        """Whether both edit one statement, or one the inside of what the other edits."""
        if self.module is not other.module:
            return False
        mine, theirs = self.edit, other.edit
        within = mine.start < theirs.stop and theirs.start < mine.stop
        return within or not set(mine.lines).isdisjoint(theirs.lines)


def changed(mutants: Sequence[Mutant]) -> list[Changed]:
    """The changed modules of all these mutants in one program."""
    modules = {mutant.module.name: mutant.module for mutant in mutants}
    found = []
    for name, module in modules.items():
        edits = [mutant.edit for mutant in mutants if mutant.module.name == name]
        found.append(Changed(name, module.file, module.source.changed(*edits)))
    return found


def executing(found: Measured, mutants: Sequence[Mutant], order: Iterable[int]) -> list[int]:
    """The numbers of the trials that execute a statement of these mutants, in this order."""
    some: set[int] = set()
    for mutant in mutants:
        lines = found.lines[mutant.module.file]
        for line in mutant.edit.lines:
            trial_numbers = lines.get(line, set())
            if trial_numbers is None:
                return list(order)
            some |= trial_numbers
    return [number for number in order if number in some]
