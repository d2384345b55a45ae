"""A backend's verdict: its report, its known failures, and the environment of the run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from nlcore_conformance.backend.formats import FORMATS
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.checks.judging import Failure
from nlcore_conformance.document import dumps
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.known import KNOWN, Known, Status
from nlcore_conformance.run.results import Cause, CheckResult, Diagnosis, Report


@dataclass
class Verdict:
    """The outcome of a run on one backend."""

    report: Report
    environment: dict[str, str] = field(default_factory=dict)
    known: list[Status] = field(default_factory=list)
    cannot_run: str = ""  # why there is nothing in the report

    def status(self, check: str) -> Status | None:
        """The known failure of a check, if there is one."""
        return next((s for s in self.known if s.entry.check == check), None)

    def excused(self, result: CheckResult) -> bool:
        """Whether the result is a known failure that has not worsened."""
        status = self.status(result.name)
        return result.failure is not None and status is not None and status.state == KNOWN

    def of(self, result: CheckResult) -> str:
        """The result's verdict: "pass", "FAIL", "known" or "not run"."""
        return "known" if self.excused(result) else result.verdict

    @property
    def failed(self) -> list[CheckResult]:
        """The results that make the backend fail."""
        return [r for r in self.report.results if r.failure is not None and not self.excused(r)]

    @property
    def conforms(self) -> bool:
        """Nothing failed except known failures, and something was judged."""
        return self.report.tried and not self.failed

    @property
    def line(self) -> str:
        """The verdict in one line."""
        name = self.report.backend
        if self.cannot_run:
            return f"{name} could not be run: {self.cannot_run.removeprefix(f'{name} ')}"
        if not self.conforms:
            count = f"{len(self.failed)} of {len(self.report.results)} checks fail"
            return f"{name} does not conform: {count if self.failed else 'nothing was tried'}"
        some = self.report.not_covered or any(r.not_run for r in self.report.results)
        excused = sum(self.excused(r) for r in self.report.results)
        known = f", {excused} known failure{'s' * (excused > 1)} apart" if excused else ""
        supported = " to what it supports" if some else ""
        return f"{name} conforms{supported}{known}{self._sizes}"

    @property
    def _sizes(self) -> str:
        largest = self.report.largest
        z, gradients = largest.get("z", 0), largest.get("gradients", 0)
        text = f", tried with up to {z or gradients:,} positions" if largest else ""
        return f"{text}, in gradients {gradients:,}" if z and gradients else text

    @property
    def exit_status(self) -> int:
        """0: it conforms, 1: it does not, 2: it could not be run."""
        return 2 if self.cannot_run else int(not self.conforms)

    def to_json(self) -> dict[str, Any]:
        """The report's fields, and beside them those of the verdict."""
        known = [
            {**asdict(s), "entry": {**asdict(s.entry), "expires": str(s.entry.expires)}}
            for s in self.known
        ]
        return {
            **self.report.to_json(),
            "conforms": self.conforms,
            "cannot_run": self.cannot_run,
            "environment": self.environment,
            "known": known,
        }


def described(failure: Failure) -> list[tuple[str, str]]:
    """A failure as labels and texts: the case, and the values expected and received."""
    case, j = failure.case, failure.judgement
    shape = (case.batch, case.spec.channels, *case.positions)
    lines = [
        ("spec", str(case.spec)),
        (
            "x",
            f"shape {shape}, {case.dtype}, data {case.data}, layout {case.layout}, "
            f"seed {case.seed}, training={case.training}",
        ),
    ]
    if j is None:
        lines.append(("backend", failure.error))
    elif j.note:
        lines.append((j.output, j.note))
    else:
        place = f"{j.output}{list(j.index) or ''}"
        lines += [
            ("expected", f"{place} = {j.expected!r}"),
            ("received", f"{place} = {j.received!r}"),
            ("bound", f"{j.bound:.3g}; error / bound = {j.ratio:.3g}"),
        ]
        if said := precision(j, case.dtype):
            lines.append(("precision", said))
    if failure.stage:
        lines.append(("stage", f"first difference in: {failure.stage}"))
    return lines


def precision(j: Judgement, dtype: str) -> str:
    """Which less precise arithmetic makes errors of this size, "" if none does."""
    relative = abs(j.received - j.expected) / abs(j.expected) if j.expected else math.inf
    own = FORMATS[dtype].unit
    for name, roundoff in (("float32", 2.0**-24), ("float16 or TF32", 2.0**-11)):
        # a bound is up to some hundred times the error of an honest implementation
        if own < roundoff and 1 / 300 < j.ratio * own / roundoff < 1 and relative < 16 * roundoff:
            return f"the error is as large as rounding to {name} makes it"
    return ""


def write(file: Path, verdicts: list[Verdict]) -> None:
    """Write verdicts as JSON: a list, one object for each backend."""
    file.write_text(dumps([verdict.to_json() for verdict in verdicts]), encoding="utf-8")


def read(file: Path) -> list[Verdict]:
    """The verdicts that `write` wrote."""
    return [from_json(fields) for fields in json.loads(file.read_text(encoding="utf-8"))]


def from_json(fields: dict[str, Any]) -> Verdict:
    """The verdict whose `to_json` was written as text and read back."""
    given = {**fields}
    del given["conforms"]
    environment, cannot_run = given.pop("environment"), given.pop("cannot_run")
    known = [_status(s) for s in given.pop("known")]
    given["diagnoses"] = [_diagnosis(d) for d in given["diagnoses"]]
    results = [_result(r) for r in given.pop("results")]
    return Verdict(Report(**given, results=results), environment, known, cannot_run)


def _status(fields: dict[str, Any]) -> Status:
    entry = fields["entry"]
    ratio, expires = float(entry["worst_ratio"]), date.fromisoformat(entry["expires"])
    entry = Known(**{**entry, "worst_ratio": ratio, "expires": expires})
    return Status(entry, fields["state"], float(fields["ratio"]))


def _diagnosis(fields: dict[str, Any]) -> Diagnosis:
    causes = tuple(Cause(**cause) for cause in fields["causes"])
    return Diagnosis(tuple(fields["checks"]), causes, fields["only"])


def _result(fields: dict[str, Any]) -> CheckResult:
    given = {name: value for name, value in fields.items() if name != "verdict"}
    if given["worst_case"]:
        given["worst_case"] = Case.from_json(given["worst_case"])
    if given["failure"]:
        failure = given["failure"]
        given["failure"] = Failure(
            **failure
            | {
                "case": Case.from_json(failure["case"]),
                "judgement": failure["judgement"] and _judgement(failure["judgement"]),
            }
        )
    given["worst"] = float(given["worst"])
    given["by_output"] = {name: float(v) for name, v in given["by_output"].items()}
    return CheckResult(**given)


def _judgement(fields: dict[str, Any]) -> Judgement:
    numbers = {name: float(fields[name]) for name in ("ratio", "expected", "received", "bound")}
    return Judgement(**fields | numbers | {"index": tuple(fields["index"])})
