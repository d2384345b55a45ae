"""Export makes the committed files again, and they have the form that the page describes."""

from __future__ import annotations

import json
import re

import ml_dtypes  # noqa: F401  # names "bfloat16"
import numpy as np
import pytest
from committed import COMMITTED, ENTRIES, NOT_SHOWN, ROOT
from safetensors.numpy import load_file

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.vectors import export
from nlcore_conformance.vectors.examples import vectors as all_vectors


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    assert sorted(export.export(folder)) == sorted(folder.iterdir())
    return folder


def test_export_makes_the_committed_files_again_bit_for_bit(exported):
    names = sorted(path.name for path in COMMITTED.iterdir() if path.is_file())
    assert sorted(path.name for path in exported.iterdir()) == names
    changed = [n for n in names if (exported / n).read_bytes() != (COMMITTED / n).read_bytes()]
    assert changed == [], "run: nlcore-conformance vectors export conformance/vectors"


def test_they_stay_small():
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 3e6


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
    stored = export.stored_bound(bound)
    assert stored.dtype == np.float32
    assert np.all((bound < stored) & (stored < 1.01 * bound))
    significand, _ = np.frexp(stored)
    assert np.all(significand * 2**8 % 1 == 0)
    for noise in (1 + 2.0**-50, 1 - 2.0**-50):
        np.testing.assert_array_equal(export.stored_bound(bound * noise), stored)
    edges = export.stored_bound(np.array([0.0, np.inf, 1e300, 1e-300]))
    assert edges[:3].tolist() == [0.0, np.inf, np.inf]
    assert 1 < edges[3] / np.finfo(np.float32).tiny < 1.01


def test_the_page_shows_an_entry_of_the_manifest_as_it_is():
    page = (ROOT / "docs" / "vectors.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    entry = json.loads(example)
    assert entry == ENTRIES[entry["name"]]
    for words in export.TENSORS:
        assert f"`{words}`" in page
    for clause, reason in NOT_SHOWN.items():
        assert f"- {clause}: {reason}." in page
