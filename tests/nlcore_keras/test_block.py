"""The Keras layer: layouts, states, configuration, saving, precision, errors."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec, check_weights, weight_shapes
from nlcore_keras import NonLocalBlock

LAYOUTS = ("channels_last", "channels_first")


def built(spec, weights, **kwargs):
    layer = NonLocalBlock.from_spec(spec, **{"data_format": "channels_first", **kwargs})
    layer.import_weights(weights)
    return layer


def array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float64"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [False, True])
def test_agrees_with_the_reference(layout, training, spec, problem, assert_close):
    spec = spec(subsample=(1, 2, 2), bias=True)
    weights, x, _ = problem(spec, (3, 4, 5))
    layer = built(spec, weights, dtype="float64", data_format=layout)
    if layout == "channels_last":
        z = np.moveaxis(array(layer(np.moveaxis(x, 1, -1), training=training)), -1, 1)
    else:
        z = array(layer(x, training=training))
    assert_close(z, nlcore.block(spec, weights, x, training), "float64")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "fields",
    [
        {"subsample": (1, 2, 2)},
        {"extent": "space", "pairwise": "dot_product"},
        {"extent": "time", "subsample": (2, 1, 1)},
        {"window": 2, "pairwise": "concatenation", "subsample_at": "input", "subsample": (1, 2, 2)},
    ],
    ids=str,
)
def test_a_functional_model_with_unknown_sizes(layout, fields, spec, problem, assert_close):
    spec = spec(**fields)
    last = layout == "channels_last"
    layer = NonLocalBlock(inner_channels=4, data_format=layout, **fields)
    inputs = keras.Input((None, None, None, 6) if last else (6, None, None, None))
    outputs = layer(inputs)
    assert outputs.shape == inputs.shape
    assert layer.spec == spec
    model = keras.Model(inputs, outputs)
    for seed, positions in enumerate([(4, 4, 5), (2, 5, 3)]):
        weights, x, _ = problem(spec, positions, "float32", seed=seed)
        layer.import_weights(weights)
        given = np.moveaxis(x, 1, -1) if last else x
        for z in (array(model(given)), model.predict(given, verbose=0)):
            z = np.moveaxis(z, -1, 1) if last else z
            assert_close(z, nlcore.block(spec, weights, x), "float32")


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product"])
def test_starts_as_the_identity_to_the_bit(ndim, batch_norm, pairwise):
    layer = NonLocalBlock(ndim=ndim, batch_norm=batch_norm, pairwise=pairwise, bias=True)
    x = np.random.default_rng(0).normal(size=(2, *(4,) * ndim, 6)).astype("float32")
    for training in (False, True):
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(x, training=training)), x)


def test_does_not_start_as_the_identity_when_told_so():
    layer = NonLocalBlock(ndim=1, identity=False)
    x = np.ones((1, 4, 6), "float32")
    assert not np.array_equal(ops.convert_to_numpy(layer(x, training=False)), x)


@pytest.mark.parametrize(("init", "std"), [("he", np.sqrt(2 / 256)), ("normal", 0.01)])
def test_initial_weights_are_seeded(init, std):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        layer = NonLocalBlock(ndim=1, init=init)
        layer.build((None, None, 256))
        drawn.append(layer.export_weights())
    np.testing.assert_array_equal(drawn[0]["theta.weight"], drawn[1]["theta.weight"])
    assert drawn[0]["theta.weight"].std() == pytest.approx(std, rel=0.03)
    for name in ("theta.weight", "phi.weight", "g.weight", "out.weight"):
        weight = drawn[0][name]  # of mean 0, within 5 standard errors
        assert abs(weight.mean()) < 5 * weight.std() / weight.size**0.5
    assert not np.array_equal(drawn[0]["theta.weight"], drawn[0]["phi.weight"])


def test_weights_are_made_in_build_and_tracked():
    layer = NonLocalBlock(ndim=2, pairwise="concatenation", bias=True, pair_bias=True)
    assert layer.weights == []
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype("float32")
    first = ops.convert_to_numpy(layer(x))
    expected = weight_shapes(layer.spec)
    assert [tuple(w.shape) for w in layer.trainable_weights] == list(expected.values())[:-2]
    assert len(layer.non_trainable_weights) == 2
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), first)
    assert len(layer.weights) == len(expected)


def test_export_and_import(spec, problem):
    spec = spec(pairwise="concatenation", bias=True, pair_bias=True)
    weights, _, _ = problem(spec, (2, 2, 2))
    layer = built(spec, weights, dtype="float64")
    exported = layer.export_weights()
    check_weights(spec, exported)
    assert list(exported) == list(weight_shapes(spec))
    for name, weight in weights.items():
        np.testing.assert_array_equal(exported[name], weight)


@pytest.mark.parametrize(("count", "positions"), [(30, (3, 5)), (1, (1, 1))])
def test_running_statistics(count, positions, spec, problem):
    spec = spec(ndim=2)
    weights, x, _ = problem(spec, positions, batch=count // np.prod(positions))
    layer = built(spec, weights, dtype="float64", momentum=0.8)
    layer(x, training=False)
    before = layer.export_weights()
    np.testing.assert_array_equal(before["bn.running_mean"], weights["bn.running_mean"])
    layer(x, training=True)
    after = layer.export_weights()

    plain = NonLocalSpec(6, inner_channels=4, ndim=2, batch_norm=False)
    out = nlcore.block(plain, {n: weights[n] for n in weight_shapes(plain)}, x) - x
    rows = np.moveaxis(out, 1, -1).reshape(-1, 6)
    assert len(rows) == count
    # PyTorch's formula: momentum 0.2 of the mean and of the unbiased variance
    variance = rows.var(0, ddof=1) if count > 1 else np.zeros(6)
    for name, batch in (("bn.running_mean", rows.mean(0)), ("bn.running_var", variance)):
        want = 0.8 * weights[name] + 0.2 * batch
        np.testing.assert_allclose(after[name], want, rtol=1e-12, atol=1e-14)


def test_frozen_runs_in_inference_form(spec, problem):
    spec = spec(ndim=1)
    weights, x, _ = problem(spec, (5,))
    layer = built(spec, weights, dtype="float64")
    inference = array(layer(x, training=False))
    layer.trainable = False
    np.testing.assert_array_equal(array(layer(x, training=True)), inference)
    np.testing.assert_array_equal(
        layer.export_weights()["bn.running_var"], weights["bn.running_var"]
    )


CONFIG = {
    "inner_channels": 5,
    "value_channels": 3,
    "ndim": 3,
    "pairwise": "concatenation",
    "normalization": "sum",
    "scale": 1.0,
    "subsample": (1, 2, 2),
    "subsample_at": "input",
    "extent": "space",
    "window": None,
    "bias": True,
    "pair_bias": True,
    "batch_norm": True,
    "eps": 1e-3,
    "init": "normal",
    "identity": False,
    "momentum": 0.7,
    "data_format": "channels_first",
    "name": "nl",
}


def test_config():
    config = NonLocalBlock(**CONFIG).get_config()
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert NonLocalBlock.from_config(config).get_config() == config


def test_config_through_json():
    config = NonLocalBlock(**CONFIG).get_config()
    again = NonLocalBlock.from_config(json.loads(json.dumps(config))).get_config()
    assert again == config  # (1, 2, 2) == [1, 2, 2] is false
    # what C decides stays open
    open_fields = NonLocalBlock().get_config()
    names = ("inner_channels", "value_channels", "normalization")
    assert [open_fields[name] for name in names] == [None] * 3
    del config["value_channels"]  # stored by a version that did not have it
    assert NonLocalBlock.from_config(config).get_config()["value_channels"] is None


def test_from_spec():
    spec = nlcore.dialect("caffe2", 6, pairwise="dot_product")
    layer = NonLocalBlock.from_spec(spec, momentum=0.5, data_format="channels_last")
    assert layer.built and layer.spec == spec and layer.spec.dialect == "caffe2"
    assert layer.momentum == 0.5
    with pytest.raises(ValueError, match="must have 6 channels"):
        layer(np.ones((1, 2, 2, 2, 5), "float32"))


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "concatenation"])
def test_saving_and_loading(pairwise, tmp_path):
    inputs = keras.Input((None, 4, 5, 6))
    widths = {"inner_channels": 2, "value_channels": 5, "bias": "embeddings"}
    layer = NonLocalBlock(
        pairwise=pairwise, subsample=(1, 2, 2), identity=False, name="nl", **widths
    )
    model = keras.Model(inputs, layer(inputs))
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 6)).astype("float32")
    model(x, training=True)  # moves the running statistics
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))
    assert loaded.get_layer("nl").spec == layer.spec


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16", "bfloat16"])
def test_half_precision(policy, spec, problem, assert_close):
    spec = spec(subsample=(1, 2, 2), bias=True)
    weights, x, _ = problem(spec, (2, 4, 4), dtype="float32")
    half = policy.removeprefix("mixed_")
    layer = built(spec, weights, dtype=policy)
    z = layer(x, training=True)
    assert keras.backend.standardize_dtype(z.dtype) == half
    kept = "float32" if policy.startswith("mixed") else half
    assert {v.dtype for v in layer.variables} == {kept}
    assert_close(array(z), nlcore.block(spec, weights, x, True), half, units=10)


def test_statistics_of_half_precision_are_wide(spec):
    # the sum of 20000 fours is infinite in float16
    spec = spec(ndim=1, channels=1, inner_channels=1, subsample=(100,))
    weights = {name: np.ones(shape) for name, shape in weight_shapes(spec).items()}
    layer = built(spec, weights, dtype="mixed_float16")
    x = np.full((1, 1, 20000), 4.0)
    np.testing.assert_array_equal(array(layer(x, training=True)), x + 1)  # variance 0, bias 1
    np.testing.assert_allclose(layer.export_weights()["bn.running_mean"], 0.9 + 0.1 * 4, rtol=1e-6)


def test_fit(spec):
    inputs = keras.Input((3, 4, 6))
    layer = NonLocalBlock(ndim=2, subsample=(2, 2), pairwise="concatenation")
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(4, 3, 4, 6)).astype("float32")
    model.fit(x, -x, batch_size=2, epochs=1, verbose=0)
    after = layer.export_weights()
    assert np.abs(after["bn.weight"]).max() > 0
    assert np.abs(after["bn.running_mean"]).max() > 0
    assert all(np.isfinite(weight).all() for weight in after.values())


def test_nan_spreads_to_what_sees_it():
    layer = NonLocalBlock(extent="space", identity=False)
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 4)).astype("float32")
    x[1, 2, 0, 1, 3] = np.nan
    bad = np.isnan(ops.convert_to_numpy(layer(x, training=False)))
    assert bad[1, 2].all()
    assert bad.sum() == bad[1, 2].size


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"pairwise": "cosine"}, ValueError, "pairwise must be one of .*cosine"),
        ({"inner_channels": 0}, ValueError, "inner_channels must be an int > 0; received 0"),
        ({"extent": "time", "subsample": (1, 2, 2)}, ValueError, "spatial subsample entries"),
        ({"ndim": 2, "subsample": (2,)}, ValueError, r"2 int\(s\).* received \(2,\)"),
        ({"value_channels": 0}, ValueError, "value_channels must be an int > 0; received 0"),
        ({"bias": 1}, TypeError, "bias must be one of .*; received 1"),
        ({"init": "glorot"}, ValueError, "init must be one of .*glorot"),
        ({"identity": 0}, TypeError, "identity must be a bool; received 0"),
        ({"momentum": 1.5}, ValueError, r"momentum must be .*\[0, 1\]; received 1.5"),
        ({"momentum": "0.9"}, TypeError, "momentum must be .*received '0.9'"),
        ({"data_format": "channels"}, ValueError, "data_format must be one of .*'channels'"),
    ],
)
def test_bad_fields_are_refused_on_construction(fields, error, message):
    with pytest.raises(error, match=message):
        NonLocalBlock(**fields)


def symbolic(shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype=dtype)


def test_bad_inputs():
    layer = NonLocalBlock(ndim=2, subsample=(2, 2), data_format="channels_last")
    for x in (np.ones((1, 4, 4, 6), int), symbolic((None, 4, 4, 6), "int32")):
        with pytest.raises(TypeError, match=r"x must be floating point.* received dtype int"):
            layer(x)
    with pytest.raises(TypeError, match="x must be a tensor; received list"):
        layer([1.0])
    for x in (np.ones((4, 4, 6)), symbolic((None, 4, 6))):
        with pytest.raises(ValueError, match=r"x must have 4 axes .*channels_last"):
            layer(x)
    with pytest.raises(ValueError, match="number of channels must be known"):
        layer(symbolic((None, 4, 4, None)))
    for x in (np.ones((1, 1, 4, 6)), symbolic((None, 1, None, 6))):
        with pytest.raises(ValueError, match="axis H must be at least its pooling window 2"):
            layer(x)
    assert layer.weights == []
    layer.build((None, None, None, 6))
    for shape, message in [
        ((1, 4, 4, 5), "must have 6 channels"),
        ((1, 0, 4, 6), "no axis of size 0"),
        ((1, 4, 1, 6), "axis W must be at least its pooling window 2"),
        ((4, 4, 6), r"must have shape \(B, H, W, 6\); received shape \(4, 4, 6\)"),
    ]:
        for x in (np.ones(shape), symbolic(shape)):
            with pytest.raises(ValueError, match=message):
                layer(x)
    windowed = NonLocalBlock(window=2, data_format="channels_first")
    with pytest.raises(ValueError, match="window=2 must divide T; received T=3"):
        windowed(np.ones((1, 4, 3, 2, 2)))


def test_bad_weights(spec, problem):
    spec = spec(ndim=1)
    layer = NonLocalBlock(ndim=1)
    for use in (layer.export_weights, lambda: layer.import_weights({})):
        with pytest.raises(ValueError, match="no weights yet"):
            use()
    weights, _, _ = problem(spec, (3,))
    layer = built(spec, weights)
    before = layer.export_weights()
    for bad, error, message in [
        ({n: w for n, w in weights.items() if n != "g.weight"}, ValueError, "'g.weight' is miss"),
        (weights | {"f.weight": np.ones(8)}, ValueError, "'f.weight' is not used"),
        (weights | {"phi.weight": np.ones((6, 4))}, ValueError, r"\(4, 6\); received .*\(6, 4\)"),
        ([1.0], TypeError, "must be a mapping"),
    ]:
        with pytest.raises(error, match=message):
            layer.import_weights(bad)
    after = layer.export_weights()
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch_on_each_engine(training):
    layer = NonLocalBlock(ndim=2, subsample=(2, 2), data_format="channels_last")
    layer.build((None, 4, 4, 6))
    convolution = keras.layers.Conv2D(6, 3, padding="same")  # the control
    for each in (convolution, layer):
        assert each(np.empty((0, 4, 4, 6), "float32"), training=training).shape == (0, 4, 4, 6)


def test_an_empty_batch_of_a_graph():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("it is TensorFlow's graph")
    layer = NonLocalBlock(ndim=2, subsample=(2, 2), data_format="channels_last")
    layer.build((None, 4, 4, 6))
    call = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((None, 4, 4, 6))])
    assert call(np.empty((0, 4, 4, 6), "float32")).shape == (0, 4, 4, 6)
    assert call(np.ones((2, 4, 4, 6), "float32")).shape == (2, 4, 4, 6)


@pytest.mark.parametrize("field", ["subsample"])
def test_a_config_from_json_gives_the_same_config(field):
    layer = NonLocalBlock(subsample=(1, 2, 2), data_format="channels_last", name="block")
    config = layer.get_config()
    again = NonLocalBlock.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config and isinstance(again.get_config()[field], tuple)
