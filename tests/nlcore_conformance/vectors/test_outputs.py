"""Outputs are judged: those of a right implementation, of mutants, and of a block in Node.js."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import ml_dtypes  # noqa: F401  # names "bfloat16"
import numpy as np
import pytest
from committed import COMMITTED, ENTRIES, MANIFEST, ROOT, compute, with_clause
from rich.console import Console
from safetensors.numpy import load_file, save_file

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import CannotRun
from nlcore_conformance.mutants import mutants
from nlcore_conformance.vectors import export, outputs
from nlcore_conformance.vectors.examples import vectors as all_vectors

#: Mutants that are right at every vector of their clause: the vectors have no sums as long, or no
#: products beyond float16.
UNSEEN = {"float16 sums of 4096", "phi g kept in float16"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_an_honest_implementation_is_accepted(tmp_path, dtype):
    folder = compute(Plain((dtype,)), tmp_path, ENTRIES.values(), {dtype})
    results = [r for r in outputs.check(folder, COMMITTED) if r.dtype == dtype]
    assert [outputs.failure(r) for r in results if r.verdict != "pass"] == []
    assert all(len(r.judgements) == len(r.outputs) for r in results)
    assert outputs.conforms(results)
    assert max(r.ratio for r in results) > 0.1  # bounds are not vacuous


def test_without_a_folder_of_vectors_they_are_made_again(tmp_path, monkeypatch):
    some = [vector for vector in all_vectors() if vector.name.startswith(("ndim-", "nan-relu"))]
    monkeypatch.setattr(export, "vectors", lambda: some)
    folder = compute(Plain(), tmp_path, [ENTRIES[vector.name] for vector in some], {"float32"})
    made = [r for r in outputs.check(folder) if r.covered]
    read = [r for r in outputs.check(folder, COMMITTED) if r.covered]
    assert [(r.name, r.ratio) for r in made] == [(r.name, r.ratio) for r in read]
    assert len(made) == 4
    assert outputs.conforms(made)


def test_what_was_not_computed_is_not_covered_and_z_alone_is_enough(tmp_path):
    folder = compute(Plain(), tmp_path, [ENTRIES["bias-gaussian"]], {"float32"}, gradients=False)
    results = outputs.check(folder, COMMITTED)
    covered = [r for r in results if r.covered]
    assert [(r.name, r.dtype, r.verdict) for r in covered] == [("bias-gaussian", "float32", "pass")]
    assert {r.verdict for r in results if not r.covered} == {"not covered"}
    assert outputs.conforms(results)
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(outputs.table(results))
    text = captured.get()
    assert re.search(r"bias-gaussian .* 1 of 6 ", text)
    assert re.search(r"nan-relu .* not covered ", text)
    assert f"1 of {len(ENTRIES)} vectors covered" in text
    assert "float64" not in text


@pytest.mark.parametrize("value, right", [(np.nan, True), (-np.inf, True), (7.0, False)])
def test_an_infinity_may_give_a_nan_or_an_infinity_and_nothing_else(tmp_path, value, right):
    folder = compute(Plain(), tmp_path, [ENTRIES["infinity"]], {"float32"})
    path = folder / "infinity.float32.safetensors"
    z = load_file(path)["z"].copy()
    assert not np.isfinite(z[0, :, :, 0, 1]).any()
    z[0, :, :, 0, 1] = value
    save_file({"z": z}, path)
    assert outputs.conforms(outputs.check(folder, COMMITTED)) is right


@pytest.mark.parametrize(
    "name, change, says",
    [
        ("ndim-1", lambda o: {"z": o["z"] + 1}, "error / bound"),
        ("ndim-1", lambda o: o | {"phi.weight": 2 * o["phi.weight"]}, "phi.weight["),
        ("ndim-1", lambda o: {"z": o["z"][..., :-1].copy()}, "shape (2, 6, 7)"),
        ("ndim-1", lambda o: {"z": o["z"].astype("float64")}, "expected dtype float32"),
        ("ndim-1", lambda o: {"z": np.full_like(o["z"], np.nan)}, "received  z[0, 0, 0] = nan"),
        ("ndim-1", lambda o: {"dx": o["dx"]}, "expected z, and any of dx, theta.weight"),
        ("ndim-1", lambda o: o | {"y": o["z"]}, "received dx, g.weight"),
        ("nan-item", lambda o: {"z": np.nan_to_num(o["z"])}, "expected  z[0, 0, 0, 0] = nan"),
    ],
)
def test_what_is_wrong_fails_and_says_where(tmp_path, name, change, says):
    folder = compute(Plain(), tmp_path, [ENTRIES[name]], {"float32"})
    path = folder / f"{name}.float32.safetensors"
    save_file(change(load_file(path)), path)
    results = outputs.check(folder, COMMITTED)
    assert not outputs.conforms(results)
    (failed,) = [r for r in results if r.verdict == "FAIL"]
    text = outputs.failure(failed)
    assert text.startswith(f"FAIL {name} in float32 (NL-")
    assert says in text


def test_a_file_that_is_none_fails(tmp_path):
    (tmp_path / "ndim-1.float32.safetensors").write_bytes(b"not a tensor")
    (failed,) = [r for r in outputs.check(tmp_path, COMMITTED) if r.covered]
    assert (failed.verdict, failed.ratio) == ("FAIL", np.inf)
    assert "cannot be read" in outputs.failure(failed)


def test_what_cannot_be_judged_says_what_was_expected(tmp_path):
    with pytest.raises(CannotRun, match=r"expected a folder of outputs; received .*missing"):
        outputs.check(tmp_path / "missing", COMMITTED)
    with pytest.raises(CannotRun, match=r"<vector>.<dtype>.safetensors; .* has none"):
        outputs.check(tmp_path, COMMITTED)
    (tmp_path / "data-large.bfloat16.safetensors").touch()  # its inputs are not in bfloat16
    with pytest.raises(CannotRun, match=r"expected a folder with manifest.json"):
        outputs.check(tmp_path, tmp_path)
    with pytest.raises(CannotRun, match=r"dtypes as the manifest has .* data-large.bfloat16"):
        outputs.check(tmp_path, COMMITTED)
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST | {"spec_version": "0.1"}))
    with pytest.raises(CannotRun, match=r"specification 1.2; .* has those of 0.1"):
        outputs.check(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "manifest, says",
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        (json.dumps({"vectors": []}), r"KeyError\('spec_version'\)"),
        (json.dumps({"spec_version": "1.0"}), r"KeyError\('vectors'\)"),
        (
            json.dumps({"spec_version": "1.0", "vectors": [{"name": "ndim-1"}]}),
            r"KeyError\('clauses'\)",
        ),
    ],
    ids=["no JSON", "a list", "no version", "no vectors", "half a vector"],
)
def test_a_manifest_of_another_form_cannot_be_judged_by(tmp_path, manifest, says):
    (tmp_path / "ndim-1.float32.safetensors").touch()
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(CannotRun, match=f"as `vectors export` writes it; received .*{says}"):
        outputs.check(tmp_path, tmp_path)


def test_a_vector_that_cannot_be_read_cannot_be_judged_by(tmp_path):
    given, entry = tmp_path / "given", ENTRIES["ndim-1"]
    folder = compute(Plain(), tmp_path / "outputs", [entry], {"float32"}, gradients=False)
    given.mkdir()
    (given / "manifest.json").write_text(json.dumps(MANIFEST))
    with pytest.raises(CannotRun, match=r"vector ndim-1 cannot be read: FileNotFoundError"):
        outputs.check(folder, given)
    (given / entry["file"]).write_bytes(b"not a tensor")
    with pytest.raises(CannotRun, match=r"vector ndim-1 cannot be read: SafetensorError"):
        outputs.check(folder, given)
    tensors = load_file(COMMITTED / entry["file"])
    del tensors["bound/float32/z"]
    save_file(tensors, given / entry["file"])
    with pytest.raises(CannotRun, match=r"expected bound/float32/z in .*ndim-1.safetensors"):
        outputs.check(folder, given)


def test_nothing_computed_conforms_to_nothing():
    assert not outputs.conforms([outputs.VectorResult("a", (), "float32", ("z",))])


@pytest.mark.parametrize("clause", sorted({c for e in ENTRIES.values() for c in e["clauses"]}))
def test_a_wrong_rule_is_rejected_by_a_vector_of_its_clause(tmp_path, clause):
    wrong = [mutant for mutant in mutants() if mutant.clause == clause]
    survivors = {m.name for m in wrong if not rejected(m, clause, tmp_path)}
    assert survivors <= UNSEEN
    assert len(survivors) < len(wrong) or clause == "NL-11.3"  # which has none


def rejected(mutant, clause: str, folder: Path) -> bool:
    """Whether one of the clause's vectors rejects the mutant, in one of its dtypes."""
    backend = mutant.make()  # one for all, as a program would
    for dtype in backend.dtypes:
        for entry in with_clause(clause):
            if dtype not in entry["dtypes"]:
                continue
            try:
                with np.errstate(all="ignore"):
                    compute(backend, folder, [entry], {dtype})
            except Exception:
                return True  # it does not come to an output
            path = folder / f"{entry['name']}.{dtype}.safetensors"
            tensors = load_file(COMMITTED / entry["file"])
            if outputs.vector_result(entry, tensors, dtype, path).verdict == "FAIL":
                return True
    return False


NODE = ROOT / "examples" / "node"


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not on PATH")


def run_node(example: Path, outputs: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", example / "run.mjs", COMMITTED, outputs]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@needs_node
def test_the_example_in_javascript_conforms(tmp_path):
    ran = run_node(NODE, tmp_path / "outputs")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = outputs.check(tmp_path / "outputs", COMMITTED)
    assert {r.dtype for r in results if r.covered} == {"float64", "float32"}
    assert {r.verdict for r in results if r.dtype in ("float64", "float32")} == {"pass"}
    assert outputs.conforms(results)
    printed = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines()[:-1]}
    for result in results:
        if result.covered:  # it prints what check finds
            at = printed[result.name].index(result.dtype) + 1
            assert float(printed[result.name][at]) == pytest.approx(result.ratio, rel=6e-3)


@needs_node
@pytest.mark.parametrize(
    "rule, wrong, clause",
    [
        ('spec.normalization === "sum" ? Math.max(...row) : 0', "0", "NL-4.5"),
        ("total(row, round) : row.length", "total(row, round) : theta.length", "NL-4.2"),
    ],
)
def test_the_example_with_one_rule_wrong_does_not_conform(tmp_path, rule, wrong, clause):
    example = shutil.copytree(NODE, tmp_path / "node")
    code = (example / "block.mjs").read_text(encoding="utf-8")
    assert code.count(rule) == 1
    (example / "block.mjs").write_text(code.replace(rule, wrong), encoding="utf-8")
    ran = run_node(example, tmp_path / "outputs")
    assert ran.returncode == 1
    results = outputs.check(tmp_path / "outputs", COMMITTED)
    failed = [r for r in results if r.verdict == "FAIL"]
    assert any(clause in r.clauses for r in failed)
    assert not outputs.conforms(results)
