"""conformance/studies/verdicts.py: what the page on other packages says of a run."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.runner import run
from nlcore_conformance.run.search import PROFILES

SCRIPT = Path(__file__).parents[2] / "conformance" / "studies" / "verdicts.py"
PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"
CHECKS = ("gradient / outside the extent", "identity at insertion", "extent as batches")


class Crashing(Reference):
    """Right, but that its concatenation has no gradient; and all positions see each other."""

    name = "Some Block"
    dtypes = ("float32", "float16")

    def supports(self, spec, dtype):
        return (spec.extent == "all" and spec.window is None) or "every position sees all"

    def block_vjp(self, spec, weights, x, dz, training=False):
        if spec.pairwise == "concatenation":
            raise RuntimeError("modified by an inplace operation\nmore of it")
        return super().block_vjp(spec, weights, x, dz, training)


@pytest.fixture(scope="module")
def verdicts():
    spec = importlib.util.spec_from_file_location("verdicts_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judged(verdicts) -> dict:
    """Some Block in place of mmcv's, on a few checks."""
    with pytest.MonkeyPatch.context() as patch:
        only = [check for check in verdicts.CHECKS if check.name in CHECKS]
        patch.setattr(verdicts, "CHECKS", only)
        patch.setattr(verdicts, "PROFILES", {"quick": replace(PROFILES["quick"], examples=20)})
        patch.setattr(
            verdicts,
            "run_checks",
            lambda *a, **k: run(*a, **k, only=lambda c: c.name in CHECKS, examples=20),
        )
        patch.setattr(verdicts, "_version", lambda distribution: "1.2")
        console = Console(quiet=True)
        return verdicts._judged("mmcv:nonlocal3d", Crashing(), Crashing(), console)


def test_a_failing_pairwise_function_is_told_from_the_others(judged):
    cells = {check["name"]: check["cells"] for check in judged["checks"]}
    failing = "FAIL with concatenation; 0 without"
    assert cells["gradient / outside the extent"] == [failing, failing, ""]
    assert cells["identity at insertion"] == ["0", "0", ""]
    assert "extent as batches" not in cells
    assert judged["not_run"] == {"every position sees all": ["extent as batches"]}


def test_a_crash_is_one_failure_with_its_first_line_and_a_case_to_replay(judged):
    (failure,) = judged["failures"]
    assert failure["dtypes"] == ["float32 and float64", "float16"]
    text = dict(failure["lines"])
    assert text["backend"] == "raised RuntimeError: modified by an inplace operation"
    command, _, recorded = failure["replay"].partition("'")
    assert command == "nlcore-conformance replay "
    fields = json.loads(recorded.removesuffix("'"))
    assert fields["backend"] == "nlcore_torch.adapters.mmcv:nonlocal3d"
    assert Case.from_json(fields["case"]).spec.pairwise == "concatenation"


def test_what_was_not_covered_comes_with_its_reason(judged):
    assert "extent=space" in judged["missing"]["every position sees all"]
    assert judged["covered"] + sum(map(len, judged["missing"].values())) == judged["values"]


def page(verdicts, folder: Path, *results: list[dict]):
    files = [folder / f"{n}.json" for n in range(len(results))]
    for file, result in zip(files, results, strict=True):
        file.write_text(json.dumps(result))
    output = folder / "page.md"
    done = CliRunner().invoke(verdicts.app, ["page", *map(str, files), "--output", str(output)])
    return done, output.read_text() if output.exists() else ""


def test_the_page_puts_runs_together_in_one_order(verdicts, judged, tmp_path):
    timm = judged | {"adapter": "timm:nonlocal2d", "name": "Another Block"}
    done, text = page(verdicts, tmp_path, [timm], [judged])
    assert done.exit_code == 0
    assert text.index("## Some Block") < text.index("## Another Block")
    assert "| [Some Block](#some-block) | mmcv-lite 1.2 | 1.2 | dialect paper" in text
    assert "| 1 of 2 | 1 of 2 | 0 of 0 |" in text
    assert "raised RuntimeError: modified by an inplace operation\n" in text
    assert "**FAIL** with concatenation; 0 without" in text
    assert text == page(verdicts, tmp_path, [timm], [judged])[1]


def test_the_page_in_docs_has_the_words_that_are_generated(verdicts, judged, tmp_path):
    _, text = page(verdicts, tmp_path, [judged])
    assert prose(PAGE.read_text()) == prose(text)


def prose(text: str) -> list[str]:
    """What stands above the first implementation, without tables and versions."""
    head = text.partition("\n## ")[0]
    lines = [line for line in head.splitlines() if not line.startswith(("|", "Made with"))]
    return "\n".join(lines).split()


def test_runs_that_do_not_go_together_are_refused(verdicts, judged, tmp_path):
    done, text = page(verdicts, tmp_path, [judged], [judged])
    assert done.exit_code == 2
    assert "more than one file" in done.output
    newer = judged | {"adapter": "timm:nonlocal2d", "stamp": "specification 9.9"}
    done, text = page(verdicts, tmp_path, [judged], [newer])
    assert done.exit_code == 2
    assert "the files differ in stamp" in done.output
    assert not text
