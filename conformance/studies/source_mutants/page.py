"""docs/mutation.md, from the files that runs have written, and the reasons in `reasons.toml`."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent
#: In place of a reason that is missing.
OPEN = "NO REASON YET"


def write(output: Path, runs: list[dict[str, Any]], reasons: Mapping[str, Any]) -> list[str]:
    """Write the page; returns the survivors and the statements that have no reason.

    Parameters
    ----------
    runs
        What `mutation.py run` has written.
    reasons
        What `read_reasons` returns.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    explained = [_explained(run, reasons) for run in runs]
    text = environment.get_template("mutation.md.jinja").render(runs=explained)
    output.write_text(text, encoding="utf-8")
    return [line for run in explained for line in run["open"]]


def read_reasons(file: Path = HERE / "reasons.toml") -> dict[str, Any]:
    """Why mutants survive, and why statements are not executed."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _explained(run: dict[str, Any], reasons: Mapping[str, Any]) -> dict[str, Any]:
    """The run with tables for the page, and the lines that have no reason."""
    judged = [m for m in run["mutants"] if "verdict" in m]
    survivors = [m for m in judged if m["verdict"] == "survived"]
    rejected = [m for m in judged if m["verdict"] == "rejected"]
    apart = [
        {**statement, "file": file["file"], "why": why_apart(file["file"], statement, reasons)}
        for file in run["files"]
        for statement in file["missing"]
    ]
    for mutant in survivors:
        mutant["why"] = why_same(mutant, reasons)
    open_ = [
        f"{m['file']}:{m['line']}: {m['before']}  ->  {m['after']}"
        for m in survivors
        if m["why"] == OPEN
    ]
    open_ += [f"{s['file']}:{s['line']}: {s['text']}" for s in apart if s["why"] == OPEN]
    return {
        **run,
        "judged": judged,
        "survivors": _grouped(survivors),
        "rows": [_row(file, apart, judged) for file in run["files"]],
        "by": Counter(m["by"] for m in rejected).most_common(),
        "kinds": [(k, n, _count(survivors, "kind", k)) for k, n in _kinds(judged)],
        "apart": Counter(s["why"] for s in apart).most_common(),
        "where": {s["why"]: _places(apart, s["why"]) for s in apart},
        "open": open_,
    }


def why_same(mutant: dict[str, Any], reasons: Mapping[str, Any]) -> str:
    """The reason of a survivor, of its own or of every change of its line."""
    found = OPEN
    for entry in reasons.get("survivor", ()):
        if (entry["file"], entry["before"]) == (mutant["file"], mutant["before"]):
            if entry.get("after") == mutant["after"]:
                return entry["reason"]
            found = found if "after" in entry else entry["reason"]
    return found


def why_apart(file: str, statement: dict[str, Any], reasons: Mapping[str, Any]) -> str:
    """The reason why a statement is not executed, of its own or of its function."""
    for entry in reasons.get("not_executed", ()):
        own = statement["within"] in entry.get("within", ()) or statement["text"] in entry.get(
            "text", ()
        )
        if file in entry["files"] and own:
            return entry["reason"]
    return OPEN


def _row(file: dict[str, Any], apart: list[dict[str, Any]], judged: list[Any]) -> dict[str, Any]:
    """A file's line of the table."""
    reached = file["statements"] - len(file["missing"])
    unexplained = sum(s["file"] == file["file"] and s["why"] == OPEN for s in apart)
    return {
        "file": file["file"],
        "statements": file["statements"],
        "executed": reached,
        "apart": len(file["missing"]) - unexplained,
        "mutants": _count(judged, "file", file["file"]),
        "survived": sum(m["file"] == file["file"] and m["verdict"] == "survived" for m in judged),
    }


def _grouped(survivors: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """File -> reason -> its survivors."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for mutant in sorted(survivors, key=lambda m: (m["file"], m["start"])):
        found.setdefault(mutant["file"], {}).setdefault(mutant["why"], []).append(mutant)
    return found


def _kinds(judged: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return sorted(Counter(m["kind"] for m in judged).items())


def _count(rows: list[dict[str, Any]], key: str, value: str) -> int:
    return sum(row[key] == value for row in rows)


def _places(apart: list[dict[str, Any]], why: str) -> list[str]:
    """The functions of the statements that are not executed for this reason."""
    return sorted({s["within"] or s["file"] for s in apart if s["why"] == why})
