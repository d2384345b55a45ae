"""The results of a run: of each check, and of the backend as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from nlcore_conformance.checks.judging import Failure
from nlcore_conformance.problems.case import Case

#: field -> value -> how many examples had it
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Cause:
    """A known mistake."""

    name: str
    mistake: str  # in one sentence
    clause: str


@dataclass(frozen=True)
class Diagnosis:
    """Checks that fail for one cause.

    Attributes
    ----------
    checks : tuple of str
    causes : tuple of Cause
        The mistakes that explain them. Where there are several, the problems do not tell them
        apart.
    only : str
        What all problems that fail have, and no other, like "extent=time". The causes, if any,
        explain these problems only.
    """

    checks: tuple[str, ...]
    causes: tuple[Cause, ...] = ()
    only: str = ""

    @property
    def lines(self) -> list[str]:
        """The diagnosis in words, a line for each cause."""
        if not self.causes:
            return [f"fails only where {self.only}, by no mistake that is known"]
        first, *others = self.causes
        where = f", but only where {self.only}" if self.only else ""
        same = f"computes what {first.name!r} computes ({first.clause})"
        lines = [f"{same}{where}: {first.mistake}"]
        return lines + [f"or {c.name!r} ({c.clause}), equal here: {c.mistake}" for c in others]


@dataclass
class CheckResult:
    """The result of one check."""

    name: str
    clause: str
    examples: int = 0
    worst: float = 0.0  # largest ratio of the examples that passed
    worst_case: Case | None = None
    by_output: dict[str, float] = field(default_factory=dict)  # output -> worst ratio
    elements: int = 0
    unpredictable: int = 0  # elements without a finite bound, which do not count
    vacuous: int = 0  # elements whose bound is above their output's largest value
    failure: Failure | None = None
    not_run: str = ""  # why no example was judged, or no element of any
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """One of "pass", "FAIL" and "not run"."""
        if self.failure is not None:
            return "FAIL"
        return "not run" if self.not_run or not self.examples else "pass"


@dataclass
class Report:
    """The results of all checks on one backend."""

    backend: str
    profile: str
    seed: int
    results: list[CheckResult] = field(default_factory=list)
    covered: Counts = field(default_factory=dict)
    not_covered: dict[str, dict[str, str]] = field(default_factory=dict)  # field -> value -> why
    #: "z" or "gradients" -> the largest number of positions that see each other, of those judged
    largest: dict[str, int] = field(default_factory=dict)
    sums: dict[str, str] = field(
        default_factory=dict
    )  # dtype -> dtype of sums, as the backend declares
    diagnoses: list[Diagnosis] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tried(self) -> bool:
        """Whether any check was run."""
        return any(r.verdict != "not run" for r in self.results)

    def explains(self, check: str) -> bool:
        """Whether a known mistake explains why a check fails."""
        return any(found.causes and check in found.checks for found in self.diagnoses)

    def to_json(self) -> dict[str, Any]:
        """The fields, and the verdict of each check."""
        out = asdict(self)
        for result, fields_ in zip(self.results, out["results"], strict=True):
            fields_["verdict"] = result.verdict
            fields_["worst_case"] = result.worst_case and result.worst_case.to_json()
            if result.failure:
                fields_["failure"]["case"] = result.failure.case.to_json()
        return out
