"""The suite's own test: every mutant is rejected, every right implementation is accepted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from nlcore.spec import FLOATS
from nlcore_conformance.checks.catalogue import Check, checks
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.mutants import Mutant, Variant, honest, mutants
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.problems.case import Case
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.run.runner import PROFILES, drawn

#: Pairs of positions beyond which a case is tried after all others.
MANY = 2**18
#: How many cases the checks against the reference are ahead of the properties.
LATER = 8


@dataclass
class Row:
    """What became of one implementation."""

    name: str
    rule: str
    clause: str  # that it breaks, "" for a right one
    backend: Backend
    check: str = ""  # that rejected it
    ratio: float = 0.0  # of the rejection, else the worst of all
    note: str = ""  # where its answer was of another form
    case: Case | None = None  # that it was rejected for, else the worst
    tried: int = 0

    @property
    def wrong(self) -> bool:
        """Whether it has to be rejected."""
        return bool(self.clause)

    @property
    def ok(self) -> bool:
        """Rejected as it has to be, or accepted wherever it was tried."""
        return bool(self.check) if self.wrong else not self.check and self.tried > 0


@dataclass
class SelfTest:
    """What became of all of them."""

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
    """Judge mutants and right implementations by the cases that a run of each check tries.

    Parameters
    ----------
    profile, seed
        As for `nlcore_conformance.run.runner.run`.
    progress
        Hears of each case: the check's name, how many are done, how many there are.
    zoo, right
        By default `mutants()` and `honest()`.
    only
        Which checks are run.
    """
    start = time.perf_counter()
    zoo = mutants() if zoo is None else zoo
    right = honest() if right is None else right
    rows = [Row(m.name, m.rule, m.clause, m.make()) for m in zoo]
    rows += [Row(v.name, v.rule, "", v.backend) for v in right]
    tried = [
        # the checks in turn, so that most mutants fall early; those that cost each implementation
        # much start later, and long rows are last, when few are left
        ((_pairs(case) > MANY, number if check.named else number + LATER), check, case)
        for check in filter(only, checks())
        for number, case in enumerate(drawn(check, Plain(FLOATS), PROFILES[profile], seed))
    ]
    tried.sort(key=lambda entry: entry[0])
    for done, (_, check, case) in enumerate(tried, start=1):
        for row in rows:
            if not row.check:
                _judge(row, check, case)
        progress(check.name, done, len(tried))
    return SelfTest(profile, seed, rows, time.perf_counter() - start)


def _pairs(case: Case) -> int:
    """How many pairs of positions there are."""
    return case.batch * math.prod(case.positions) ** 2


def _judge(row: Row, check: Check, case: Case) -> None:
    """Judge one implementation by one case; what it does not support is left out."""
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
    """Mutant, clause, the check that rejected it, and by what ratio; the right ones below."""
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
        said = "rejected" if row.check else "accepted" if row.tried else "not tried"
        verdict = Text(said, style="green" if row.ok else "bold red")
        out.add_row(row.name, row.clause or "none", row.check, f"{row.ratio:.3g}", verdict)
    return out
