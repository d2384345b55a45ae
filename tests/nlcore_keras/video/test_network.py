"""The networks in Keras: PyTorch's weights, and its logits."""

import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch

import nlcore_torch.video.network
from nlcore.checkpoints.imagenet import inflate, keras_arrays
from nlcore.video import Imported, NetworkSpec, placement
from nlcore.video.published_networks import PUBLISHED
from nlcore_keras.video import Network
from nlcore_keras.video.network_layers import MaxPool, WindowMean

FLOAT = "float64"
NETWORKS = {
    "C2D": NetworkSpec(width=2, classes=5),
    "C2D, C2's stem": NetworkSpec(width=2, classes=5, stem_padding=0, temporal_strides=(1, 1, 2)),
    "I3D 3x1x1, 5 blocks": NetworkSpec(50, "3x1x1", placement(50, 5), width=2, classes=5),
    "I3D 3x3x3, 1 block": NetworkSpec(50, "3x3x3", placement(50, 1), width=2, stride_at="1x1"),
    "ResNet-101": NetworkSpec(
        101, non_local=placement(101, 5), block={"pairwise": "concatenation"}, width=2, classes=3
    ),
    "C2's, windows": replace(
        PUBLISHED["i3d_nonlocal_32x4"].spec, width=2, classes=5, head_window=1
    ),
    "SlowOnly, window logits": replace(
        PUBLISHED["slow_r50"].spec, width=2, classes=5, head_window=1
    ),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def spec(request):
    return request.param


@pytest.fixture
def clips():
    return np.random.default_rng(1).normal(size=(2, 6, 33, 32, 3))


@pytest.fixture
def wide():
    """Clips that have several windows of 1 x 1, and 4 frames in res3 if only pool2 has a stride."""
    return np.random.default_rng(1).normal(size=(2, 8, 33, 64, 3))


def test_torchs_weights_give_its_logits(spec, clips, wide, assert_close):
    clips = clips if spec.head == "mean" else wide
    torch.manual_seed(0)
    theirs = nlcore_torch.video.network.Network(spec, identity=False, dtype=torch.float64).eval()
    weights = theirs.export_weights()
    ours = Network(spec, dtype=FLOAT)
    ours.import_weights(weights)
    back = ours.export_weights()
    assert back.keys() == weights.keys()
    for name, value in back.items():
        np.testing.assert_array_equal(value, weights[name].astype(FLOAT), name)
    with torch.no_grad():
        x = torch.from_numpy(np.moveaxis(clips, -1, 1))
        expected = theirs(x).numpy()
        scores = {name: theirs.scores(x, name).numpy() for name in ("softmax", "sigmoid")}
    found = keras.ops.convert_to_numpy(ours(clips.astype(FLOAT)))
    assert_close(found, expected, FLOAT)
    for name, right in scores.items():
        own = keras.ops.convert_to_numpy(ours.scores(clips.astype(FLOAT), name))
        assert_close(own, right, FLOAT)


@pytest.mark.parametrize("name", ["I3D 3x1x1, 5 blocks", "C2's, windows"])
def test_saved_and_loaded(wide, tmp_path, name):
    spec = NETWORKS[name]
    model = Network(spec, positions=(8, 33, 64), identity=False)
    model.scores(wide)  # its model of windows is not a part of the file
    model.save(tmp_path / "network.keras")
    other = keras.models.load_model(tmp_path / "network.keras")
    assert other.spec == spec
    np.testing.assert_array_equal(*(m.predict(wide, verbose=0) for m in (model, other)))


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16", "float16"])
def test_config_through_json(dtype):
    spec = NetworkSpec(width=2, classes=5, non_local=("res2.0",), block={"subsample": (1, 3, 2)})
    network = Network(spec, positions=(6, 33, 32), dtype=dtype, data_format="channels_first")
    config = network.get_config()
    again = Network.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config and again.spec == spec
    policy = dtype or keras.config.floatx()
    assert [layer.dtype_policy.name for layer in again.layers[1:]] == [policy] * (
        len(network.layers) - 1
    )


def test_a_pooling_layers_config_through_json():
    config = MaxPool((3, 3, 3), (2, 2, 2), (1, 1, 1)).get_config()
    assert MaxPool.from_config(json.loads(json.dumps(config))).get_config() == config
    assert config["kernel"] == (3, 3, 3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_window_means(data_format):
    x = np.random.default_rng(0).random((2, 3, 4, 5, 6))  # (B, T, H, W, C)
    layer = WindowMean(2, data_format=data_format, dtype="float64")
    given = x if data_format == "channels_last" else np.moveaxis(x, -1, 1)
    found = keras.ops.convert_to_numpy(layer(given))
    assert found.shape == layer.compute_output_shape(given.shape) == (2, 3, 4, 6)
    for row in range(3):
        for column in range(4):
            window = x[:, :, row : row + 2, column : column + 2].mean((1, 2, 3))
            np.testing.assert_allclose(found[:, row, column], window, rtol=1e-6)
    none = (None,) * 4
    shape = (*none, 6) if data_format == "channels_last" else (None, 6, *none[1:])
    assert layer.compute_output_shape(shape) == (None, None, None, 6)
    assert WindowMean.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="res5 must have at least 5 x 5 pixels"):
        WindowMean(5)(x)
    with pytest.raises(ValueError, match="res5 must have at least 2 x 2 pixels"):
        Network(replace(NETWORKS["C2's, windows"], head_window=2), positions=(8, 33, 64))


def test_scores_of_half_precision_are_single_and_other_activations_are_refused(wide):
    network = Network(NETWORKS["C2's, windows"], dtype="bfloat16")
    scores = network.scores(wide)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    with pytest.raises(ValueError, match=r"activation must be one of \('softmax', 'sigmoid'\)"):
        network.scores(wide, "relu")


def test_a_plain_checkpoint_starts_a_network_with_blocks(clips):
    plain = Network(NetworkSpec(width=2, classes=5))
    network = Network(plain.spec.with_blocks(5))
    report = network.import_weights(plain.export_weights(), partial=True)
    assert isinstance(report, Imported) and report.left_over == ()
    assert len(report.missing) == 5 * 8 and all(".non_local." in n for n in report.missing)
    np.testing.assert_array_equal(*(m.predict(clips, verbose=0) for m in (plain, network)))
    with pytest.raises(ValueError, match=r"'res3.1.non_local.theta.weight' is missing"):
        network.import_weights(plain.export_weights())
    other = {"fc.weight": np.zeros((7, 64)), "res3.1.non_local.g.weight": np.ones((8, 16))}
    before = network.export_weights()
    report = network.import_weights(other, partial=True)
    assert report.left_over == ("fc.weight",) and report.count == 1
    changed = {n for n, w in network.export_weights().items() if not np.array_equal(w, before[n])}
    assert changed == {"res3.1.non_local.g.weight"}


def test_importing_the_package_does_not_choose_an_engine():
    script = (
        "import sys, nlcore_keras.video as v; assert 'keras' not in sys.modules; "
        "print(v.Network.__module__, 'keras' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["nlcore_keras.video.network", "True"]


def test_a_missing_weight_is_named():
    model = Network(NETWORKS["C2D"])
    with pytest.raises(ValueError, match=r"'conv1\.weight' is missing"):
        model.import_weights({})


def test_blocks_start_as_the_identity(clips):
    spec = NETWORKS["C2D"]
    without, network = Network(spec), Network(spec.with_blocks(5))
    network.import_weights(network.export_weights() | without.export_weights())
    np.testing.assert_array_equal(*(m.predict(clips, verbose=0) for m in (without, network)))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        ((1, 3, 3), (1, 2, 2), (0, 0, 0)),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("frames", [6, 7])
def test_max_pool(kernel, stride, padding, data_format, frames):
    x = np.random.default_rng(0).random((2, 3, frames, 9, 8))
    expected = torch.nn.functional.max_pool3d(torch.from_numpy(x), kernel, stride, padding).numpy()
    layer = MaxPool(kernel, stride, padding, data_format=data_format, dtype="float64")
    last = data_format == "channels_last"
    given = np.moveaxis(x, 1, -1) if last else x
    found = keras.ops.convert_to_numpy(layer(given))
    assert found.shape == layer.compute_output_shape(given.shape)
    np.testing.assert_array_equal(np.moveaxis(found, -1, 1) if last else found, expected)


def test_keras_applications_inflated(assert_close):
    keras.utils.set_random_seed(0)
    source = keras.applications.ResNet50(
        weights=None, input_shape=(64, 64, 3), classes=7, classifier_activation=None
    )
    rng = np.random.default_rng(0)
    for layer in source.layers:  # no statistic and no bias is trivial
        for variable in layer.weights:
            if variable.name != "kernel":
                variable.assign(variable.numpy() + rng.uniform(0, 0.2, variable.shape))
    spec = NetworkSpec(50, stride_at="1x1", classes=7, temporal_strides=(1, 1, 1))
    mapped = inflate(spec, keras_arrays(source), "keras")
    assert (mapped.missing, mapped.left_over) == ((), ())
    model = Network(spec, positions=(2, 64, 64))
    model.import_weights(mapped.weights)
    frame = rng.normal(size=(1, 64, 64, 3)).astype("float32")
    still = np.repeat(frame[:, None], 2, axis=1)
    expected = source.predict(frame, verbose=0)
    assert_close(model.predict(still, verbose=0), expected, "float32")
