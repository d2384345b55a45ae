"""The functional form: the bare operation, subsampling and extents, on the configured engine."""

import keras
import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec
from nlcore.reference.extent import fold as reference_fold
from nlcore.reference.pooling import max_pool as reference_max_pool
from nlcore.reference.pooling import max_pool_vjp
from nlcore_keras import non_local_operation
from nlcore_keras.operation import operation as operation_module
from nlcore_keras.operation.concatenation import pair_sums
from nlcore_keras.operation.precision import product
from nlcore_keras.operation.stages import fold, max_pool, moments, unfold

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
KINDS = [(pairwise, by) for pairwise in PAIRWISE for by in ("sum", "count")]


def tensors(*arrays, dtype="float64"):
    return [ops.convert_to_tensor(array, dtype=dtype) for array in arrays]


def gradient(f, *arrays):
    """The gradients of the sum of f by each array, on the configured engine."""
    engine = keras.backend.backend()
    if engine == "tensorflow":
        import tensorflow as tf

        inputs = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = ops.sum(f(*inputs))
        return [np.asarray(grad) for grad in tape.gradient(total, inputs)]
    if engine == "jax":
        import jax

        places = tuple(range(len(arrays)))
        return [np.asarray(g) for g in jax.grad(lambda *a: ops.sum(f(*a)), places)(*arrays)]
    import torch

    inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
    return [np.asarray(grad) for grad in torch.autograd.grad(ops.sum(f(*inputs)), inputs)]


def embeddings(spec, n=7, m=5, seed=1):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(2, n, 4)), rng.normal(size=(2, m, 4)), rng.normal(size=(2, m, 3))]
    if spec.pairwise == "concatenation":
        arrays += [rng.normal(size=8), np.array(0.3)]
    elif spec.pairwise == "dot_product":
        arrays = [np.abs(array) for array in arrays]
    return arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
def test_operation(pairwise, normalization, dtype, assert_close):
    spec = NonLocalSpec(
        4,
        pairwise=pairwise,
        normalization=normalization,
        scale=1.0 if pairwise == "concatenation" else -0.5,
    )
    arrays = [array.astype(dtype) for array in embeddings(spec)]
    y = non_local_operation(spec, *tensors(*arrays, dtype=dtype))
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert_close(ops.convert_to_numpy(y), nlcore.operation(spec, *arrays), dtype)


@pytest.mark.parametrize("normalization", ["sum", "count"])
def test_queries_in_chunks(normalization, monkeypatch, assert_close):
    spec = NonLocalSpec(4, normalization=normalization)
    arrays = embeddings(spec, n=23, m=9)
    monkeypatch.setattr(operation_module, "CHUNK", 100)  # 5 queries, the last chunk is of 3
    y = non_local_operation(spec, *tensors(*arrays))
    assert_close(ops.convert_to_numpy(y), nlcore.operation(spec, *arrays), "float64")

    got = gradient(lambda *a: non_local_operation(spec, *a), *arrays)
    want = nlcore.operation_vjp(spec, *arrays, np.ones((2, 23, 3)))
    for array, name in zip(got, ("theta", "phi", "g"), strict=True):
        assert_close(array, want[name], "float64")


def test_large_logits_do_not_overflow_a_softmax():
    spec = NonLocalSpec(1)
    theta, phi, g = np.full((1, 2, 1), 100.0), np.array([[[9.0], [10.0]]]), np.array([[[1.0], [2]]])
    y = non_local_operation(spec, *tensors(theta, phi, g, dtype="float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(y), [[[2.0], [2.0]]])


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
def test_sums_of_half_precision_are_wide(pairwise, normalization):
    # M = 70000 values f = 1 have an infinite sum in float16
    spec = NonLocalSpec(1, pairwise=pairwise, normalization=normalization)
    theta = np.full((1, 1, 1), 0.0 if "gaussian" in pairwise else 1.0)
    phi, g = np.ones((1, 70000, 1)), np.full((1, 70000, 1), 2.0)
    pair = tensors(np.array([0.0, 1.0]), dtype="float16") if pairwise == "concatenation" else []
    y = non_local_operation(spec, *tensors(theta, phi, g, dtype="float16"), *pair)
    # a float32 sum of 70000 equal terms may be wrong by 70000 u / 2
    np.testing.assert_allclose(ops.convert_to_numpy(y), [[[2.0]]], rtol=2e-3)


@pytest.mark.parametrize("normalization", ["sum", "count"])
def test_concatenation_with_ties_and_kinks_on_each_engine(normalization):
    # small integers: sums are exact, many b_j are equal, and a_i + b_j is often exactly 0
    rng = np.random.default_rng(2)
    a, b, g = (rng.integers(-3, 4, size=s).astype(float) for s in ((2, 9), (2, 12), (2, 12, 3)))
    a[0, 0] = -9.0  # no key is active: C(x) = 0
    spec = NonLocalSpec(1, pairwise="concatenation", normalization=normalization)
    arrays = [a[..., None], b[..., None], g, np.ones(2), np.array(0.0)]
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arrays)))
    np.testing.assert_allclose(y, nlcore.operation(spec, *arrays), rtol=1e-14)
    np.testing.assert_array_equal(y[0, 0], 0)

    got = gradient(lambda *a: non_local_operation(spec, *a), *arrays)
    want = nlcore.operation_vjp(spec, *arrays[:3], np.ones(y.shape), *arrays[3:])
    for array, expected in zip(got, want.values(), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-12)


def test_concatenation_of_nearly_equal_logits_is_their_mean():
    # weights a_i + b_j = 1e-6 left over from terms of size 1: in prefix sums of b_j g_j they drown
    rng = np.random.default_rng(3)
    b = np.float32(1) + np.float32(1e-6) * rng.random((1, 1000), np.float32)
    a = np.full((1, 1), -1, np.float32)
    g = 1 + rng.random((1, 1000, 1), np.float32)
    sums = ops.convert_to_numpy(pair_sums(*tensors(a, b, g, dtype="float32")))
    weights = np.maximum(a.astype(float)[..., None] + b[:, None], 0)
    np.testing.assert_allclose(sums, weights @ g, rtol=1e-5)


def test_dot_product_whose_sum_is_zero():
    spec = NonLocalSpec(1, pairwise="dot_product", normalization="sum")
    theta, phi = np.array([[[1.0], [0.0]]]), np.array([[[1.0], [-1.0]]])
    g = np.array([[[1.0], [2.0]]])
    y = non_local_operation(spec, *tensors(theta, phi, g))
    np.testing.assert_array_equal(ops.convert_to_numpy(y), np.zeros((1, 2, 1)))
    for grad in gradient(lambda *a: non_local_operation(spec, *a), theta, phi, g):
        np.testing.assert_array_equal(grad, np.zeros_like(grad))


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 1, 2], ids=["theta", "phi", "g"])
def test_what_is_not_finite_spreads_as_the_formula_says(pairwise, normalization, bad, where):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    arrays = embeddings(spec)
    arrays[where][0, 2, 1] = bad
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arrays)))
    with np.errstate(invalid="ignore", over="ignore"):
        want = nlcore.operation(spec, *arrays)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(want))


@pytest.mark.parametrize(
    ("a", "b"), [([np.inf, 2], [3, 1]), ([1, 2], [np.inf, 1]), ([1, 2], [np.inf, np.inf])]
)
def test_infinite_logits_of_the_concatenation(a, b):
    a, b = (np.array([row], float)[..., None] for row in (a, b))  # (1, 2, 1)
    spec = NonLocalSpec(2, 1, pairwise="concatenation")
    arguments = (a, b, np.ones((1, 2, 1)), np.ones(2))
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arguments)))
    np.testing.assert_array_equal(y, nlcore.operation(spec, *arguments))


@pytest.mark.parametrize("window", [(1, 2, 2), (2, 1, 3), (3, 2, 1), (1, 1, 1)])
def test_pooling_ties_go_to_the_first_on_each_engine(window):
    x = np.random.default_rng(4).integers(0, 3, (2, 5, 5, 7, 3)).astype(float)
    want, index = reference_max_pool(x, window)
    np.testing.assert_array_equal(ops.convert_to_numpy(max_pool(x, window)), want)
    (got,) = gradient(lambda x: max_pool(x, window), x)
    np.testing.assert_array_equal(got, max_pool_vjp(x.shape, window, index, np.ones(want.shape)))


def test_pooling_keeps_nan_on_each_engine():
    x = np.zeros((1, 6, 1))
    x[0, [1, 2], 0] = np.nan
    x[0, 4, 0] = -np.inf
    pooled = ops.convert_to_numpy(max_pool(x, (2,)))
    np.testing.assert_array_equal(pooled, [[[np.nan], [np.nan], [0]]])


@pytest.mark.parametrize("fields", [{"extent": "space"}, {"extent": "time"}, {"window": 2}, {}])
def test_folds(fields):
    spec = NonLocalSpec(3, **fields)
    x = np.arange(2 * 4 * 3 * 5 * 3, dtype=float).reshape(2, 4, 3, 5, 3)
    folded = fold(spec, *tensors(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(folded), reference_fold(spec, x))
    rows = ops.reshape(folded, (folded.shape[0], -1, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(unfold(spec, rows, x.shape)), x)


def test_the_variance_does_not_cancel():
    out = (1e4 + np.random.default_rng(5).normal(size=(50, 4, 2))).astype("float32")
    mean, variance, count = moments(*tensors(out, dtype="float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(mean), out.mean((0, 1), float), rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(variance), out.var((0, 1), float), rtol=1e-5)
    assert int(count) == 200


ROWS = np.ones((1, 3, 2))


@pytest.mark.parametrize(
    ("pairwise", "change", "error", "message"),
    [
        ("dot_product", {"theta": np.ones((1, 3, 5))}, ValueError, r"\(B, N, D\), \(B, M, D\)"),
        ("dot_product", {"g": np.ones((1, 4, 2))}, ValueError, r"received .*\(1, 4, 2\)"),
        ("dot_product", {"phi": np.ones((2, 3, 2))}, ValueError, r"received .*\(2, 3, 2\)"),
        ("dot_product", {"theta": np.ones((3, 2))}, ValueError, r"received .*\(3, 2\)"),
        ("dot_product", {"g": np.ones((1, 3, 0))}, ValueError, "no axis of size 0"),
        ("dot_product", {"g": np.ones((1, 3, 2), int)}, TypeError, "g must be .*received int"),
        ("dot_product", {"g": [[[1.0]]]}, TypeError, "g must be .*received list"),
        ("dot_product", {"g": np.ones((1, 3, 2), "float32")}, TypeError, "one dtype; received"),
        ("dot_product", {"f_weight": np.ones(4)}, ValueError, "f_weight .*received .*ndarray"),
        ("dot_product", {"f_bias": np.ones(())}, ValueError, "f_bias is the concatenation's"),
        ("concatenation", {}, ValueError, "f_weight .* received .*NoneType"),
        ("concatenation", {"f_weight": np.ones(3)}, ValueError, r"f_weight must have shape \(4,\)"),
        (
            "concatenation",
            {"f_weight": np.ones(4), "f_bias": np.ones(1)},
            ValueError,
            r"f_bias must have shape \(\)",
        ),
    ],
)
def test_bad_arguments(pairwise, change, error, message):
    with pytest.raises(error, match=message):
        non_local_operation(
            NonLocalSpec(2, pairwise=pairwise), **{"theta": ROWS, "phi": ROWS, "g": ROWS, **change}
        )


def test_bfloat16_products_are_rounded_to_nearest():
    rng = np.random.default_rng(0)
    a, b = (ops.cast(rng.normal(size=(32, 32)), "bfloat16") for _ in range(2))
    exact = np.float64(ops.cast(a, "float32")) @ np.float64(ops.cast(b, "float32"))
    error = np.abs(np.float64(ops.cast(product(a, b), "float32")) - exact)
    # half the distance of two bfloat16 numbers, and the rounding of the sums in float32
    assert np.all(error <= 2.0**-8 * np.abs(exact) + 1e-4)
