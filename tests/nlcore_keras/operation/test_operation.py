"""The bare operation against the reference, on the configured engine."""

import keras
import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_keras import non_local_operation

KINDS = [(pairwise, by) for pairwise in PAIRWISE for by in NORMALIZATIONS]


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
def test_agrees_with_the_reference(pairwise, normalization, dtype, tensors, assert_close):
    scale = 1.0 if pairwise == "concatenation" else -0.5
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization, scale=scale)
    arrays = [array.astype(dtype) for array in embeddings(spec)]
    y = non_local_operation(spec, *tensors(*arrays, dtype=dtype))
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert_close(ops.convert_to_numpy(y), nlcore.operation(spec, *arrays), dtype)


class Operation(keras.Layer):
    """The operation of x with itself, in a model whose sizes are unknown."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec

    def call(self, x):
        return non_local_operation(self.spec, x, x, x)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("pairwise", ["gaussian", "dot_product"])
def test_sizes_may_be_unknown(pairwise, assert_close):
    spec = NonLocalSpec(3, pairwise=pairwise)
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, Operation(spec)(inputs))
    for n in (4, 6):
        x = np.random.default_rng(n).normal(size=(2, n, 3)).astype("float32")
        assert_close(model.predict(x, verbose=0), nlcore.operation(spec, x, x, x), "float32")


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
def test_sums_of_half_precision_are_wide(pairwise, normalization, tensors):
    # M = 70000 values f = 1 have an infinite sum in float16
    spec = NonLocalSpec(1, pairwise=pairwise, normalization=normalization)
    theta = np.full((1, 1, 1), 0.0 if "gaussian" in pairwise else 1.0)
    phi, g = np.ones((1, 70000, 1)), np.full((1, 70000, 1), 2.0)
    pair = tensors(np.array([0.0, 1.0]), dtype="float16") if pairwise == "concatenation" else []
    y = non_local_operation(spec, *tensors(theta, phi, g, dtype="float16"), *pair)
    # a float32 sum of 70000 equal terms may be wrong by 70000 u / 2
    np.testing.assert_allclose(ops.convert_to_numpy(y), [[[2.0]]], rtol=2e-3)


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 1, 2], ids=["theta", "phi", "g"])
def test_what_is_not_finite_spreads_as_the_formula_says(
    pairwise, normalization, bad, where, tensors
):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    arrays = embeddings(spec)
    arrays[where][0, 2, 1] = bad
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arrays)))
    with np.errstate(invalid="ignore", over="ignore"):
        want = nlcore.operation(spec, *arrays)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(want))


ROWS = np.ones((1, 3, 2))


@pytest.mark.parametrize(
    ("pairwise", "change", "error", "message"),
    [
        ("dot_product", {"theta": np.ones((1, 3, 5))}, ValueError, r"\(B, N, D\), \(B, M, D\)"),
        ("dot_product", {"g": np.ones((1, 4, 2))}, ValueError, r"received .*\(1, 4, 2\)"),
        ("dot_product", {"phi": np.ones((2, 3, 2))}, ValueError, r"received .*\(2, 3, 2\)"),
        ("dot_product", {"theta": np.ones((3, 2))}, ValueError, r"received .*\(3, 2\)"),
        ("dot_product", {"g": np.ones((1, 3, 0))}, ValueError, "no axis of size 0"),
        ("dot_product", {"g": np.ones((1, 3, 2), int)}, TypeError, "g must be .*received dtype in"),
        ("dot_product", {"g": [[[1.0]]]}, TypeError, "g must be a tensor; received list"),
        ("dot_product", {"g": np.ones((1, 3, 2), "float32")}, TypeError, "g must have theta's dty"),
        ("dot_product", {"f_weight": np.ones(4)}, ValueError, r"f_weight .*received shape \(4,\)"),
        ("dot_product", {"f_bias": np.ones(())}, ValueError, "f_bias is the concatenation's"),
        ("concatenation", {}, ValueError, "f_weight .* received [Nn]one"),
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
