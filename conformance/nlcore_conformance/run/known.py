"""Known failures, from a TOML file: a failure that is listed does not fail the run.

It does once it worsens, or after its last day.

[[known]]
check = "gradient / concatenation"
reason = "an in-place division breaks the backward direction"
link = "https://example.org/issues/1"
expires = 2027-01-01
worst_ratio = inf
backend = "mylib.non_local:backend"  # optional
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection
from dataclasses import MISSING, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from nlcore_conformance.run.results import CheckResult, Report

KNOWN, WORSE, FIXED, EXPIRED = "known", "worse", "no longer fails", "expired"


class KnownError(ValueError):
    """The file has another form. The message names the entry, and the form expected."""


@dataclass(frozen=True)
class Known:
    """One entry."""

    check: str  # its name
    reason: str
    link: str
    expires: date  # the last day of the entry
    worst_ratio: float  # error / bound, above which the failure has worsened
    backend: str = ""  # the name that is asked for; "" for every backend


@dataclass(frozen=True)
class Status:
    """The state of an entry after a run."""

    entry: Known
    state: str  # KNOWN, WORSE, FIXED or EXPIRED
    ratio: float  # of the check, inf where the backend raised

    def __str__(self) -> str:
        e = self.entry
        about = f"{e.check}: {e.reason} ({e.link})"
        return {
            KNOWN: f"known failure until {e.expires}: {about}",
            WORSE: f"known failure that has worsened from {e.worst_ratio:.3g}: {about}",
            FIXED: f"known failure that no longer fails; its entry can be removed: {about}",
            EXPIRED: f"known failure that has expired on {e.expires}: {about}",
        }[self.state]


def known_failures(file: Path, checks: Collection[str]) -> list[Known]:
    """The entries of a TOML file, each of which names one of `checks`.

    Raises
    ------
    KnownError
        There is no such file, it is no TOML, a check is unknown, a field is missing, unknown or
        wrong, or two entries are for the same check and backend.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KnownError(f"{file}: expected a TOML file of [[known]] tables: {error}") from error
    tables = content.get("known", [])
    if set(content) - {"known"} or not isinstance(tables, list):
        raise KnownError(f"{file}: expected [[known]] tables only; received {sorted(content)}")
    entries: list[Known] = []
    for number, table in enumerate(tables, 1):
        where = f"{file}, entry {number}"
        entry = _entry(where, table)
        if entry.check not in checks:
            raise KnownError(
                f"{where}: check must be one of {list(checks)}; received {entry.check!r}"
            )
        if any((e.check, e.backend) == (entry.check, entry.backend) for e in entries):
            raise KnownError(f"{where}: expected one entry for {entry.check!r}; received a second")
        entries.append(entry)
    return entries


def _entry(where: str, table: dict[str, Any]) -> Known:
    """One entry, its fields checked."""
    allowed = [f.name for f in fields(Known)]
    required = [f.name for f in fields(Known) if f.default is MISSING]
    missing, extra = set(required) - set(table), set(table) - set(allowed)
    if missing or extra:
        raise KnownError(
            f"{where}: expected the fields {required}, and backend if wanted; "
            f"received {list(table)}"
        )
    if type(table["expires"]) is not date:  # a datetime is an instance of date
        raise KnownError(
            f"{where}: expires must be a date like 2027-01-01; received {table['expires']!r}"
        )
    for name in set(allowed) & set(table) - {"expires", "worst_ratio"}:
        if not isinstance(table[name], str) or not table[name].strip():
            raise KnownError(f"{where}: {name} must be text; received {table[name]!r}")
    ratio = table["worst_ratio"]
    if not isinstance(ratio, (int, float)) or math.isnan(ratio) or ratio <= 1:
        raise KnownError(
            f"{where}: worst_ratio must be a number above 1, or inf; received {ratio!r}"
        )
    return Known(**{**table, "worst_ratio": float(ratio)})


def ratio_of(result: CheckResult) -> float:
    """The failure's error / bound, inf where the backend raised; without a failure the worst."""
    if result.failure is None:
        return result.worst
    judgement = result.failure.judgement
    return math.inf if judgement is None else judgement.ratio


def statuses(entries: list[Known], report: Report, today: date | None = None) -> list[Status]:
    """The state of each entry for the report's backend and a check that was run."""
    today = today or date.today()
    own = [e for e in entries if e.backend == report.backend]
    named = {e.check for e in own}
    own += [e for e in entries if not e.backend and e.check not in named]
    results = {r.name: r for r in report.results if r.verdict != "not run"}
    return [_status(e, results[e.check], today) for e in own if e.check in results]


def _status(entry: Known, result: CheckResult, today: date) -> Status:
    ratio = ratio_of(result)
    if today > entry.expires:
        return Status(entry, EXPIRED, ratio)
    if result.failure is None:
        return Status(entry, FIXED, ratio)
    return Status(entry, KNOWN if ratio <= entry.worst_ratio else WORSE, ratio)
