"""The suite's own test: it must reject every mutant and accept every right implementation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.backend.variants import Variant, honest
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.document import dumps
from nlcore_conformance.evidence import stamp
from nlcore_conformance.mutants import Mutant, mutants
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.search import PROFILES, drawn

#: Pairs of positions beyond which a case is tried after all others.
MANY = 2**18
#: Pairs beyond which right implementations are not judged here, because the plain one holds them
#: all in memory. Backends are, in a run.
MOST = 2**21
#: How many cases the checks against the reference are ahead of the properties.
LATER = 8


@dataclass
class Row:
    """The outcome for one implementation."""

    name: str
    about: str  # a mutant's mistake, or how a right implementation differs
    clause: str  # that it breaks, "" for a right implementation
    backend: Backend
    check: str = ""  # that rejected it
    ratio: float = 0.0  # of the case that it was rejected for, or the largest of all
    note: str = ""  # the error, or the form that is wrong
    case: Case | None = None  # that it was rejected for, or that with the largest ratio
    tried: int = 0  # cases that it passed

    @property
    def wrong(self) -> bool:
        """Whether it has to be rejected."""
        return bool(self.clause)

    @property
    def ok(self) -> bool:
        """Rejected if it is wrong. If it is right, accepted, and judged at least once."""
        return bool(self.check) if self.wrong else not self.check and self.tried > 0

    @property
    def verdict(self) -> str:
        """ "rejected", "accepted" or "not tried"."""
        return "rejected" if self.check else "accepted" if self.tried else "not tried"


@dataclass
class SelfTest:
    """The outcome for all implementations."""

    profile: str
    seed: int
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Every mutant was rejected, and every right implementation accepted."""
        return all(row.ok for row in self.rows)


def self_test(
    profile: str = "quick",
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    zoo: tuple[Mutant, ...] | None = None,
    right: tuple[Variant, ...] | None = None,
    only: Callable[[Check], bool] = lambda check: True,
) -> SelfTest:
    """Judge mutants and right implementations by the cases that a run of each check judges.

    Parameters
    ----------
    profile, seed
        As for `nlcore_conformance.run.runner.run`.
    progress
        Called after each case with the check's name, how many are judged, and how many there are.
    zoo, right
        By default `mutants()` and `honest()`.
    only
        Which checks are run.
    """
    start = time.perf_counter()
    zoo = mutants() if zoo is None else zoo
    right = honest() if right is None else right
    rows = [Row(m.name, m.mistake, m.clause, m.make()) for m in zoo]
    rows += [Row(v.name, v.difference, "", v.backend) for v in right]
    tried = [
        # the checks take turns, so that most mutants are rejected early; the properties, which cost
        # more, start later; cases of many pairs come last, when few mutants are left
        ((case.pairs > MANY, number if check.named else number + LATER), check, case)
        for check in filter(only, CHECKS)
        for number, case in enumerate(drawn(check, Plain(FLOATS), PROFILES[profile], seed))
    ]
    tried.sort(key=lambda entry: entry[0])
    for done, (_, check, case) in enumerate(tried, start=1):
        for row in rows:
            if not row.check and (row.wrong or case.pairs <= MOST):
                _judge(row, check, case)
        progress(check.name, done, len(tried))
    return SelfTest(profile, seed, rows, time.perf_counter() - start)


def _judge(row: Row, check: Check, case: Case) -> None:
    """Judge one implementation by one case, if it supports the case."""
    if supports(row.backend, case.spec, case.dtype) is not True:
        return
    try:
        judgements = attempt(check, row.backend, case)
    except NotImplementedError:
        return
    except Failed as error:
        judgement = error.failure.judgement
        row.check, row.case = check.name, case
        row.ratio = float("inf") if judgement is None else judgement.ratio
        row.note = error.failure.error if judgement is None else judgement.note
        return
    row.tried += 1
    worst = max(j.ratio for j in judgements)
    if worst >= row.ratio:
        row.ratio, row.case = worst, case


def table(result: SelfTest) -> Table:
    """Each mutant, its clause, the check that rejected it and the ratio; then the right ones."""
    title = f"self-test: profile {result.profile}, seed {result.seed}"
    out = Table(title=f"{title}, {result.seconds:.0f} s")
    for column in ("implementation", "clause", "check"):
        out.add_column(column)
    out.add_column("ratio", justify="right")
    out.add_column("verdict")
    before = True
    for row in result.rows:
        if before and not row.wrong:
            out.add_section()
        before = row.wrong
        verdict = Text(row.verdict, style="green" if row.ok else "bold red")
        out.add_row(row.name, row.clause or "none", row.check, f"{row.ratio:.3g}", verdict)
    return out


def write(file: Path, result: SelfTest) -> None:
    """Write each implementation's verdict as JSON, with the stamp of the suite that gave it."""
    rows = [
        {
            "name": row.name,
            "check": row.check,
            "ratio": float(f"{row.ratio:.3g}"),
            "verdict": row.verdict,
        }
        for row in result.rows
    ]
    fields = {"stamp": stamp(), "profile": result.profile, "seed": result.seed, "rows": rows}
    file.write_text(f"{dumps(fields)}\n", encoding="utf-8")
