"""The backend for the conformance suite, against the reference, and the choice of an engine."""

import subprocess
import sys

import keras
import ml_dtypes
import numpy as np
import pytest

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.checks.initial_state import initial_state
from nlcore_conformance.problems.case import Case
from nlcore_keras import backend as backend_module

ENGINE = keras.backend.backend()

FEW = [
    ({"subsample": (1, 2, 2), "bias": True}, (2, 4, 5)),
    ({"pairwise": "concatenation", "window": 2, "pair_bias": True}, (4, 2, 3)),
    ({"pairwise": "dot_product", "normalization": "sum", "extent": "time"}, (3, 2, 2)),
    ({"ndim": 2, "subsample": (2, 2), "value_channels": 7, "bias": "embeddings"}, (4, 5)),
]
MORE = [
    ({"ndim": 1, "pairwise": "gaussian", "scale": 0.1}, (7,)),
    ({"ndim": 2, "pairwise": "gaussian", "subsample": (2, 3), "normalization": "count"}, (4, 7)),
    ({"ndim": 2, "subsample_at": "input", "subsample": (2, 2), "batch_norm": False}, (5, 4)),
    ({"normalization": "count", "scale": -0.2, "bias": True}, (2, 2, 3)),
    ({"pairwise": "dot_product", "extent": "space", "subsample": (1, 2, 1)}, (3, 4, 3)),
    ({"pairwise": "dot_product", "batch_norm": False, "bias": True, "eps": 1e-3}, (3, 2, 2)),
    (
        {
            "pairwise": "concatenation",
            "normalization": "sum",
            "bias": True,
            "eps": 0.1,  # y is nearly the same everywhere: BN would multiply its rounding errors
            "subsample_at": "input",
            "subsample": (1, 2, 2),
        },
        (2, 4, 4),
    ),
    ({"ndim": 1, "pairwise": "concatenation", "batch_norm": False}, (1,)),
    ({"ndim": 1, "pairwise": "gaussian", "scale": 0.1, "value_channels": 2}, (7,)),
    ({"subsample": (1, 2, 2), "subsample_at": "input", "value_channels": 3}, (2, 4, 4)),
    ({"ndim": 2, "pairwise": "dot_product", "value_channels": 7, "bias": "embeddings"}, (4, 3)),
    ({"ndim": 1, "pairwise": "concatenation", "subsample": (2,), "value_channels": 3}, (7,)),
]


def check(fields, positions, dtype, training, problem, assert_close):
    spec = NonLocalSpec(6, **{"inner_channels": 4, **fields})
    weights, x, dz = problem(spec, positions, dtype)
    backend = backend_module.backend
    z = backend.block(spec, weights, x, training)
    dx, dweights = backend.block_vjp(spec, weights, x, dz.astype(dtype), training)
    want = nlcore.block(spec, weights, x, training)
    want_dx, want_dweights = nlcore.block_vjp(spec, weights, x, dz.astype(dtype), training)
    assert z.dtype == dx.dtype == x.dtype
    assert_close(z, want, dtype)
    assert_close(dx, want_dx, dtype)
    assert list(dweights) == list(want_dweights)
    # some of these are sums that cancel to 0: each is compared on the scale of the largest
    scale = max(np.abs(grad).max() for grad in want_dweights.values())
    for name, grad in want_dweights.items():
        assert dweights[name].dtype == x.dtype
        assert_close(dweights[name], grad, dtype, scale)


@pytest.mark.parametrize(("fields", "positions"), FEW, ids=str)
def test_agrees_with_the_reference_on_each_engine(fields, positions, problem, assert_close):
    check(fields, positions, "float64", True, problem, assert_close)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("fields", "positions"), FEW + MORE, ids=str)
def test_agrees_with_the_reference(fields, positions, training, dtype, problem, assert_close):
    check(fields, positions, dtype, training, problem, assert_close)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_each_engine(dtype, problem, assert_close):
    spec = NonLocalSpec(6, ndim=2, inner_channels=4)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    weights, x, dz = problem(spec, (3, 4), kind)
    backend = backend_module.backend
    assert backend.supports(spec, dtype) is True
    z = backend.block(spec, weights, x)
    dx, dweights = backend.block_vjp(spec, weights, x, dz.astype(kind))
    assert {array.dtype for array in (z, dx, *dweights.values())} == {kind}
    assert_close(z, nlcore.block(spec, weights, x), dtype, units=10)
    want, _ = nlcore.block_vjp(spec, weights, x, dz.astype(kind))
    assert_close(dx, want, dtype, units=10)


def test_names_and_support():
    backend = backend_module.backend
    assert backend.name == "keras" and backend.engine == ENGINE and backend.device is None
    assert backend is backend_module.backend
    named = getattr(backend_module, f"keras_{ENGINE}")
    assert named.name == f"keras-{ENGINE}"
    assert "float8" in backend.supports(NonLocalSpec(2), "float8")
    with pytest.raises(AttributeError, match="keras_numpy"):
        backend_module.keras_numpy  # noqa: B018


def test_a_new_block_on_each_engine():
    spec = NonLocalSpec(64, 16, ndim=2, bias=True)
    backend = backend_module.backend
    assert backend.init == "he"
    for judgement in initial_state(backend, Case(spec, 2, (3, 4), "float32")):
        assert judgement.ratio <= 1, judgement
    again = (backend.initial(spec)["g.weight"] for _ in range(2))
    assert not np.array_equal(*again)


def test_device(problem, assert_close):
    spec = NonLocalSpec(4, ndim=1)
    weights, x, _ = problem(spec, (5,))
    backend = backend_module.KerasBackend("keras")
    backend.device = "cpu"
    assert_close(backend.block(spec, weights, x), nlcore.block(spec, weights, x), "float64")


def test_bad_arguments(problem):
    spec = NonLocalSpec(4, ndim=1)
    weights, x, dz = problem(spec, (5,))
    backend = backend_module.backend
    with pytest.raises(TypeError, match=r"floating point.* received dtype int64"):
        backend.block(spec, weights, x.astype(int))
    with pytest.raises(ValueError, match="must have 4 channels"):
        backend.block_vjp(spec, weights, x[:, :3], dz)
    with pytest.raises(ValueError, match=r"'bn\.bias' is missing"):
        backend.block(spec, {n: w for n, w in weights.items() if n != "bn.bias"}, x)


@pytest.mark.parametrize("other", sorted({"tensorflow", "jax", "torch"} - {ENGINE}))
def test_another_engine_is_refused(other):
    message = f"keras-{other} needs Keras on {other}, but Keras already runs {ENGINE}"
    with pytest.raises(RuntimeError, match=message):
        getattr(backend_module, f"keras_{other}")


def test_importing_the_module_does_not_choose_an_engine():
    script = (
        "import sys, nlcore_keras.backend as b; assert 'keras' not in sys.modules; "
        f"b.keras_{ENGINE}; import keras; print(keras.backend.backend())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == ENGINE
