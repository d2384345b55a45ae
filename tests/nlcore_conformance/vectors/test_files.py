"""The test vectors: what is committed, what is accepted and rejected, and a block in Node.js."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import ml_dtypes  # noqa: F401  # names "bfloat16"
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.vectors import files as vectors
from nlcore_conformance.mutants import mutants
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.resolve import CannotRun
from nlcore_conformance.vectors.cases import vectors as all_vectors

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "conformance" / "vectors"
NODE = ROOT / "examples" / "node"
MANIFEST = json.loads((COMMITTED / "manifest.json").read_text(encoding="utf-8"))
ENTRIES = {entry["name"]: entry for entry in MANIFEST["vectors"]}


#: Clauses that no vector can show, and why.
NOT_SHOWN = {
    "NL-1.5": "a file has no memory layout",
    "NL-2.4": "a vector gives every field of its spec",
    "NL-8.3": "a vector is computed once, from statistics that it gives",
    "NL-10.2": "a vector's weights are right",
    "NL-10.3": "a vector is computed once",
    **{f"NL-12.{n}": "the bounds of every vector judge it" for n in range(1, 6)},
}
#: Mutants that are right at every vector of their clause, which have no sums as long as these.
UNSEEN = {"float16 sums of 4096"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    assert sorted(vectors.export(folder)) == sorted(folder.iterdir())
    return folder


def compute(backend, folder: Path, entries, dtypes=None, gradients: bool = True) -> Path:
    """Write what the backend makes of the committed vectors, as another language would."""
    folder.mkdir(exist_ok=True)
    for entry in entries:
        tensors = load_file(COMMITTED / entry["file"])
        spec = NonLocalSpec(**entry["spec"])
        for dtype in entry["dtypes"] if dtypes is None else set(dtypes) & set(entry["dtypes"]):
            x = tensors["input/x"].astype(dtype)
            weights = {n: tensors[f"weight/{n}"].astype(dtype) for n in entry["weights"]}
            outputs = {"z": backend.block(spec, weights, x, entry["training"])}
            if gradients and "input/dz" in tensors:
                dz = tensors["input/dz"].astype(dtype)
                dx, dweights = backend.block_vjp(spec, weights, x, dz, entry["training"])
                outputs |= {"dx": dx, **dweights}
            # save_file takes the bytes as they lie in memory
            outputs = {name: np.require(a, requirements="C") for name, a in outputs.items()}
            save_file(outputs, folder / f"{entry['name']}.{dtype}.safetensors")
    return folder


def with_clause(clause: str):
    return [entry for entry in ENTRIES.values() if clause in entry["clauses"]]


# What is committed.


def test_export_makes_the_committed_files_again_bit_for_bit(exported):
    names = sorted(path.name for path in COMMITTED.iterdir())
    assert sorted(path.name for path in exported.iterdir()) == names
    changed = [n for n in names if (exported / n).read_bytes() != (COMMITTED / n).read_bytes()]
    assert changed == [], "run: nlcore-conformance vectors export conformance/vectors"


def test_they_stay_small():
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 3e6


def test_every_clause_is_shown_or_says_why_not():
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    clauses = set(re.findall(r"\*\*(NL-\d+\.\d+)\*\*", text))
    shown = {clause for entry in ENTRIES.values() for clause in entry["clauses"]}
    assert len(clauses) > 40
    assert shown | set(NOT_SHOWN) == clauses
    assert not shown & set(NOT_SHOWN)


def test_every_pairwise_function_normalization_extent_and_place_is_there():
    specs = [NonLocalSpec(**entry["spec"]) for entry in ENTRIES.values()]
    pairs = {(spec.pairwise, spec.normalization) for spec in specs}
    assert len(pairs) == 8
    assert {(s.pairwise, s.subsample_at) for s in specs if s.subsample} == {
        (pairwise, at) for pairwise in nlcore.spec.PAIRWISE for at in nlcore.spec.SUBSAMPLE_AT
    }
    assert {spec.extent for spec in specs} == set(nlcore.spec.EXTENTS)
    assert {spec.ndim for spec in specs} == {1, 2, 3}


@pytest.mark.parametrize("name", [vector.name for vector in all_vectors()])
def test_inputs_are_exact_in_every_dtype_and_bounds_have_the_shape_of_what_they_bound(name):
    entry = ENTRIES[name]
    tensors = load_file(COMMITTED / entry["file"])
    inputs = ["input/x", *(f"weight/{n}" for n in entry["weights"])]
    inputs += ["input/dz"] if "input/dz" in tensors else []
    assert entry["weights"] == list(nlcore.weight_shapes(NonLocalSpec(**entry["spec"])))
    for tensor in inputs:
        for dtype in entry["dtypes"]:
            rounded = tensors[tensor].astype(dtype).astype(np.float32)
            np.testing.assert_array_equal(rounded, tensors[tensor])
    judged = 0
    for output in entry["outputs"]:
        expected = tensors.pop(f"expected/{output}")
        assert expected.dtype == np.float64
        for dtype in entry["dtypes"]:
            bound = tensors.pop(f"bound/{dtype}/{output}")
            assert (bound.shape, bound.dtype) == (expected.shape, np.float32)
            judged += np.isfinite(bound).sum()
    assert judged > 0
    assert sorted(tensors) == sorted(inputs)  # and nothing else


def test_a_bound_is_stored_from_above_in_few_bits_whatever_its_last_bits():
    rng = np.random.default_rng(0)
    bound = np.exp(rng.uniform(-60, 60, 1000)) * np.ldexp(1.0, -20)
    bound[:100] = np.ldexp(rng.integers(1, 256, 100), -30)  # which few bits hold exactly
    stored = vectors._stored(bound)
    assert stored.dtype == np.float32
    assert np.all((bound < stored) & (stored < 1.01 * bound))
    significand, _ = np.frexp(stored)
    assert np.all(significand * 2**8 % 1 == 0)
    for noise in (1 + 2.0**-50, 1 - 2.0**-50):
        np.testing.assert_array_equal(vectors._stored(bound * noise), stored)
    edges = vectors._stored(np.array([0.0, np.inf, 1e300, 1e-300]))
    assert edges[:3].tolist() == [0.0, np.inf, np.inf]
    assert 1 < edges[3] / np.finfo(np.float32).tiny < 1.01


# What is accepted.


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_an_honest_implementation_is_accepted(tmp_path, dtype):
    folder = compute(Plain((dtype,)), tmp_path, ENTRIES.values(), {dtype})
    results = [r for r in vectors.check(folder, COMMITTED) if r.dtype == dtype]
    assert [vectors.failure(r) for r in results if r.verdict != "pass"] == []
    assert all(len(r.judgements) == len(r.outputs) for r in results)
    assert vectors.conforms(results)
    assert max(r.ratio for r in results) > 0.1  # bounds are not vacuous


def test_without_a_folder_of_vectors_they_are_made_again(tmp_path, monkeypatch):
    some = [vector for vector in all_vectors() if vector.name.startswith(("ndim-", "nan-relu"))]
    monkeypatch.setattr(vectors, "vectors", lambda: some)
    folder = compute(Plain(), tmp_path, [ENTRIES[vector.name] for vector in some], {"float32"})
    made = [r for r in vectors.check(folder) if r.covered]
    read = [r for r in vectors.check(folder, COMMITTED) if r.covered]
    assert [(r.name, r.ratio) for r in made] == [(r.name, r.ratio) for r in read]
    assert len(made) == 4
    assert vectors.conforms(made)


def test_what_was_not_computed_is_not_covered_and_z_alone_is_enough(tmp_path):
    folder = compute(Plain(), tmp_path, [ENTRIES["bias-gaussian"]], {"float32"}, gradients=False)
    results = vectors.check(folder, COMMITTED)
    covered = [r for r in results if r.covered]
    assert [(r.name, r.dtype, r.verdict) for r in covered] == [("bias-gaussian", "float32", "pass")]
    assert {r.verdict for r in results if not r.covered} == {"not covered"}
    assert vectors.conforms(results)
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(vectors.table(results))
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
    assert vectors.conforms(vectors.check(folder, COMMITTED)) is right


# What is rejected.


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
    outputs = load_file(path)
    save_file(change(outputs), path)
    results = vectors.check(folder, COMMITTED)
    assert not vectors.conforms(results)
    (failed,) = [r for r in results if r.verdict == "FAIL"]
    text = vectors.failure(failed)
    assert text.startswith(f"FAIL {name} in float32 (NL-")
    assert says in text


def test_a_file_that_is_none_fails(tmp_path):
    (tmp_path / "ndim-1.float32.safetensors").write_bytes(b"not a tensor")
    (failed,) = [r for r in vectors.check(tmp_path, COMMITTED) if r.covered]
    assert (failed.verdict, failed.ratio) == ("FAIL", np.inf)
    assert "cannot be read" in vectors.failure(failed)


def test_what_cannot_be_judged_says_what_was_expected(tmp_path):
    with pytest.raises(CannotRun, match=r"expected a folder of outputs; received .*missing"):
        vectors.check(tmp_path / "missing", COMMITTED)
    with pytest.raises(CannotRun, match=r"<vector>.<dtype>.safetensors; .* has none"):
        vectors.check(tmp_path, COMMITTED)
    (tmp_path / "data-large.bfloat16.safetensors").touch()  # its inputs are not in bfloat16
    with pytest.raises(CannotRun, match=r"expected a folder with manifest.json"):
        vectors.check(tmp_path, tmp_path)
    with pytest.raises(CannotRun, match=r"dtypes as the manifest has .* data-large.bfloat16"):
        vectors.check(tmp_path, COMMITTED)
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST | {"spec_version": "0.1"}))
    with pytest.raises(CannotRun, match=r"specification 1.1; .* has those of 0.1"):
        vectors.check(tmp_path, tmp_path)


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
        vectors.check(tmp_path, tmp_path)


def test_a_vector_that_cannot_be_read_cannot_be_judged_by(tmp_path):
    given, entry = tmp_path / "given", ENTRIES["ndim-1"]
    folder = compute(Plain(), tmp_path / "outputs", [entry], {"float32"}, gradients=False)
    given.mkdir()
    (given / "manifest.json").write_text(json.dumps(MANIFEST))
    with pytest.raises(CannotRun, match=r"vector ndim-1 cannot be read: FileNotFoundError"):
        vectors.check(folder, given)
    (given / entry["file"]).write_bytes(b"not a tensor")
    with pytest.raises(CannotRun, match=r"vector ndim-1 cannot be read: SafetensorError"):
        vectors.check(folder, given)
    tensors = load_file(COMMITTED / entry["file"])
    del tensors["bound/float32/z"]
    save_file(tensors, given / entry["file"])
    with pytest.raises(CannotRun, match=r"expected bound/float32/z in .*ndim-1.safetensors"):
        vectors.check(folder, given)


def test_nothing_computed_conforms_to_nothing():
    assert not vectors.conforms([vectors.VectorResult("a", (), "float32", ("z",))])


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
            if vectors._judged(entry, tensors, dtype, path).verdict == "FAIL":
                return True
    return False


# The page, and the example in another language.


def test_the_page_shows_an_entry_of_the_manifest_as_it_is():
    page = (ROOT / "docs" / "vectors.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    entry = json.loads(example)
    assert entry == ENTRIES[entry["name"]]
    for words in vectors.TENSORS:
        assert f"`{words}`" in page
    for clause, reason in NOT_SHOWN.items():
        assert f"- {clause}: {reason}." in page


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not on PATH")


def run_node(example: Path, outputs: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", example / "run.mjs", COMMITTED, outputs]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@needs_node
def test_the_example_in_javascript_conforms(tmp_path):
    ran = run_node(NODE, tmp_path / "outputs")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = vectors.check(tmp_path / "outputs", COMMITTED)
    assert {r.dtype for r in results if r.covered} == {"float64", "float32"}
    assert {r.verdict for r in results if r.dtype in ("float64", "float32")} == {"pass"}
    assert vectors.conforms(results)
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
    results = vectors.check(tmp_path / "outputs", COMMITTED)
    failed = [r for r in results if r.verdict == "FAIL"]
    assert any(clause in r.clauses for r in failed)
    assert not vectors.conforms(results)
