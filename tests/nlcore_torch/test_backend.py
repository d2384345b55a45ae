import itertools
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch

import nlcore_torch.operation.gaussian
from nlcore import NonLocalSpec, block
from nlcore.reference.block import block_vjp
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_conformance.checks.catalogue import CHECKS, named_check
from nlcore_conformance.checks.judging import attempt
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.runner import run
from nlcore_conformance.run.search import PROFILES, drawn
from nlcore_torch.backend import backend, function, hooked, traced
from nlcore_torch.block import NonLocalBlock

DTYPES = {name: np.dtype(name) for name in ("float16", "float32", "float64")}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
SPEC = NonLocalSpec(
    4, ndim=2, pairwise="concatenation", subsample=(2, 2), bias=True, pair_bias=True
)
# whose response varies enough for the batch's variance not to amplify
WAYS = pytest.mark.parametrize("way", [function, hooked, traced], ids=lambda way: way.name)
VARIED = NonLocalSpec(4, ndim=2, pairwise="dot_product", subsample=(2, 2))


@pytest.mark.parametrize("spec, training", [(SPEC, False), (VARIED, True)])
@pytest.mark.parametrize("name", backend.dtypes)
def test_arrays_in_and_out(name, spec, training, problem):
    dtype = DTYPES[name]
    weights, x, dz = problem(spec, (4, 5))
    weights = {key: array.astype(dtype) for key, array in weights.items()}
    x, dz = x.astype(dtype), dz.astype(dtype)
    x.flags.writeable = False
    z = backend.block(spec, weights, x, training)
    dx, dweights = backend.block_vjp(spec, weights, x, dz, training)
    expected_dx, expected = block_vjp(spec, weights, x, dz, training)
    assert list(dweights) == list(expected)
    # some 30 roundings in a row forward and back, each at most half an eps
    ratio = 16 * float(torch.finfo(getattr(torch, name)).eps)
    scale = max(np.abs(array).max() for array in expected.values())
    pairs = [(z, block(spec, weights, x, training)), (dx, expected_dx)]
    pairs += [(dweights[key], expected[key]) for key in expected]
    for received, reference in pairs:
        assert isinstance(received, np.ndarray) and received.dtype == dtype
        assert received.shape == reference.shape
        np.testing.assert_allclose(
            received.astype(np.float64),
            reference,
            rtol=0,
            atol=ratio * max(scale, np.abs(reference).max()),
        )


def test_any_strides(problem):
    weights, x, _ = problem(SPEC, (4, 5))
    flipped = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    transposed = {
        name: np.asarray(array, order="F") if array.ndim == 2 else array
        for name, array in weights.items()
    }
    np.testing.assert_array_equal(
        backend.block(SPEC, transposed, flipped), backend.block(SPEC, weights, x)
    )


def test_arguments_are_left_alone(problem):
    weights, x, dz = problem(SPEC, (4, 5))
    before = {name: array.copy() for name, array in weights.items()}
    backend.block_vjp(SPEC, weights, x, dz, training=True)
    for name in weights:
        np.testing.assert_array_equal(weights[name], before[name])


@WAYS
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_each_way_computes_the_block(way, pairwise):
    for normalization, name in itertools.product(NORMALIZATIONS, ("float64", "float32")):
        spec = NonLocalSpec(6, 4, ndim=2, pairwise=pairwise, normalization=normalization, bias=True)
        case = Case(spec, 2, (5, 6), name)
        for check in (named_check(f"{kind} / {pairwise}") for kind in ("forward", "gradient")):
            if not check.gradient or hasattr(way, "block_vjp"):
                assert all(judgement.ratio <= 1 for judgement in attempt(check, way, case))


@WAYS
@pytest.mark.slow
def test_each_way_conforms(way):
    report = run(way, profile="quick")
    assert all(result.failure is None for result in report.results)
    not_run = {result.not_run for result in report.results if result.not_run}
    without = {
        "the backend has no block_vjp",
        "a traced block computes with the running statistics",
    }
    assert not_run == (without if way is traced else set())


def test_supports():
    assert all(backend.supports(SPEC, dtype) is True for dtype in backend.dtypes)
    assert "received int8" in backend.supports(SPEC, "int8")
    assert (backend.name, backend.device) == ("torch", "cpu")


def test_a_new_block():
    torch.manual_seed(0)
    new = backend.initial(SPEC)
    torch.manual_seed(0)
    block = NonLocalBlock.from_spec(SPEC)
    assert backend.init == block.init == "he"
    for name, value in block.export_weights().items():
        np.testing.assert_array_equal(new[name], value)
        assert new[name].dtype == np.float32


def test_bad_input(problem):
    weights, x, _ = problem(SPEC, (4, 5))
    with pytest.raises(TypeError, match=r"x must be floating point.*received dtype int64"):
        backend.block(SPEC, weights, x.astype(np.int64))
    with pytest.raises(ValueError, match=r"\(B, 4, H, W\); received shape \(4, 4, 5\)"):
        backend.block(SPEC, weights, x[0])
    with pytest.raises(ValueError, match=r"'out.bias' is missing"):
        backend.block(SPEC, {n: a for n, a in weights.items() if n != "out.bias"}, x)


def test_imports_neither_the_conformance_package_nor_another_framework():
    code = (
        "import sys, nlcore_torch.backend; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "nlcore_torch" in loaded
    assert not loaded & {"nlcore_conformance", "nlcore_keras", "keras", "tensorflow", "ml_dtypes"}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_many_chunks_conform(pairwise, fused, monkeypatch):
    # the suite's own problems are mostly of one chunk
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", 64)
    if not fused:
        monkeypatch.setattr(nlcore_torch.operation.gaussian, "takes", lambda *_: False)
    for check in CHECKS:
        if check.name not in (f"forward / {pairwise}", f"gradient / {pairwise}"):
            continue
        for case in drawn(check, backend, PROFILES["quick"], 0):
            for judgement in attempt(check, backend, case):
                assert judgement.ratio <= 1
