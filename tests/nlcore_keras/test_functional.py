"""The block as a function: against the reference and the layer, on the configured engine."""

import itertools

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore.weights import RUNNING
from nlcore_keras import NonLocalBlock, non_local_block

LAYOUTS = ("channels_last", "channels_first")


def moved(x, layout):
    return np.moveaxis(x, 1, -1) if layout == "channels_last" else x


def back(z, layout):
    z = ops.convert_to_numpy(z)
    return np.moveaxis(z, -1, 1) if layout == "channels_last" else z


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("pairwise", "normalization"), list(itertools.product(PAIRWISE, NORMALIZATIONS))
)
def test_agrees_with_the_reference(
    pairwise, normalization, layout, training, spec, problem, assert_close
):
    spec = spec(
        pairwise=pairwise, normalization=normalization, bias=True, subsample=(1, 2, 2), eps=0.1
    )
    weights, x, _ = problem(spec, (2, 4, 5))
    z = non_local_block(spec, weights, moved(x, layout), training, layout)
    assert_close(back(z, layout), nlcore.block(spec, weights, x, training), "float64")


@pytest.mark.parametrize("fields", [{"extent": "time"}, {"window": 2, "batch_norm": False}])
def test_is_what_the_layer_computes_on_each_engine(fields, spec, problem):
    spec = spec(subsample_at="input", **fields)
    weights, x, _ = problem(spec, (4, 3, 2))
    for training, layout in itertools.product((False, True), LAYOUTS):
        layer = NonLocalBlock.from_spec(spec, dtype="float64", data_format=layout)
        layer.import_weights(weights)
        z = non_local_block(spec, weights, moved(x, layout), training, layout)
        want = layer(moved(x, layout), training=training)
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (z, want)))


def test_variables_and_running_statistics_stay(spec, problem):
    spec = spec(ndim=1)
    weights, x, _ = problem(spec, (5,))
    variables = {name: keras.Variable(w, dtype="float64") for name, w in weights.items()}
    z = non_local_block(spec, variables, x, True, "channels_first")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(z),
        ops.convert_to_numpy(non_local_block(spec, weights, x, True, "channels_first")),
    )
    for name in RUNNING:
        stayed = ops.convert_to_numpy(ops.stop_gradient(variables[name].value))
        np.testing.assert_array_equal(stayed, weights[name])


@pytest.mark.parametrize("training", [False, True])
def test_gradients_on_each_engine(training, spec, problem, gradient, assert_close):
    spec = spec(ndim=2, subsample=(2, 2), bias=True)
    weights, x, _ = problem(spec, (4, 5))
    names = list(weights)

    def z(x, *arrays):
        given = dict(zip(names, arrays, strict=True))
        return non_local_block(spec, given, x, training, "channels_first")

    dx, *dweights = gradient(z, x, *weights.values())
    want_dx, want = nlcore.block_vjp(spec, weights, x, np.ones_like(x), training)
    scale = max(np.abs(dx).max(), *(np.abs(d).max() for d in want.values()))
    assert_close(dx, want_dx, "float64", scale)
    for name, d in zip(names, dweights, strict=True):
        # the running statistics are state, and have no gradient
        assert_close(d, want.get(name, np.zeros_like(d)), "float64", scale if name in want else 1)
        assert name in want or not d.any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_beside_wide_batch_normalization(dtype, spec, problem, assert_close):
    spec = spec(ndim=2)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    weights, x, _ = problem(spec, (3, 4), kind)
    wide = {n: w.astype("float32") if n.startswith("bn.") else w for n, w in weights.items()}
    tensors = {
        n: ops.convert_to_tensor(w.astype("float32"), dtype=w.dtype.name) for n, w in wide.items()
    }
    z = non_local_block(
        spec,
        tensors,
        ops.convert_to_tensor(x.astype("float32"), dtype=dtype),
        data_format="channels_first",
    )
    assert keras.backend.standardize_dtype(z.dtype) == dtype
    found = ops.convert_to_numpy(ops.cast(z, "float32"))
    assert_close(found, nlcore.block(spec, weights, x), dtype, units=10)


class Block(keras.Layer):
    """The function in a model whose sizes are unknown."""

    def __init__(self, spec, given):
        super().__init__()
        self.spec, self.given = spec, given

    def call(self, x):
        return non_local_block(self.spec, self.given, x, data_format="channels_last")

    def compute_output_shape(self, shape):
        return shape


def test_sizes_may_be_unknown(spec, problem, assert_close):
    spec = spec(ndim=2, subsample=(2, 2))
    weights, _, _ = problem(spec, (4, 4), "float32")
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, Block(spec, weights)(inputs))
    for positions in ((4, 5), (2, 3)):
        _, x, _ = problem(spec, positions, "float32")
        z = np.moveaxis(model.predict(np.moveaxis(x, 1, -1), verbose=0), -1, 1)
        assert_close(z, nlcore.block(spec, weights, x), "float32")


def test_errors(spec, problem):
    spec = spec(ndim=1)
    weights, x, _ = problem(spec, (5,))

    def call(weights=weights, x=x, layout="channels_first", spec=spec):
        return non_local_block(spec, weights, x, data_format=layout)

    call()
    with pytest.raises(ValueError, match=r"must have 6 channels"):
        call(layout="channels_last")
    with pytest.raises(ValueError, match=r"data_format must be one of .* received 'first'"):
        call(layout="first")
    with pytest.raises(ValueError, match=r"'g\.weight' is missing"):
        call(weights={n: w for n, w in weights.items() if n != "g.weight"})
    with pytest.raises(TypeError, match=r"'theta\.weight' must have one dtype; received x float32"):
        call(x=x.astype("float32"))
    with pytest.raises(TypeError, match=r"floating point.* received dtype int64"):
        call(x=x.astype(int))
    with pytest.raises(TypeError, match="x must be a tensor; received list"):
        call(x=[1.0])
    with pytest.raises(TypeError, match="spec must be a NonLocalSpec; received dict"):
        call(spec={})
    with pytest.raises(TypeError, match=r"received <KerasTensor .*NonLocalBlock takes one"):
        call(x=keras.Input((6, 5), dtype="float64"))


def test_the_default_layout_is_keras_own(spec, problem):
    spec = spec(ndim=1)
    weights, x, _ = problem(spec, (5,))
    layout = keras.config.image_data_format()
    z = non_local_block(spec, weights, moved(x, layout))
    want = non_local_block(spec, weights, x, data_format="channels_first")
    np.testing.assert_array_equal(back(z, layout), ops.convert_to_numpy(want))
