"""Convolutions of clips computed as those of images: the same numbers, shapes and gradients."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("keras")

import keras
from keras import layers, ops

from nlcore_keras.video.network_layers import Conv3D

KERNELS = (
    ((1, 1, 1), (1, 1, 1)),
    ((1, 1, 1), (2, 2, 2)),
    ((1, 3, 3), (1, 2, 2)),
    ((1, 7, 7), (2, 2, 2)),
    ((3, 1, 1), (1, 1, 1)),
    ((3, 1, 1), (2, 1, 1)),
    ((3, 1, 1), (1, 2, 2)),
    ((5, 7, 7), (1, 2, 2)),
    ((3, 3, 3), (2, 1, 1)),
)


def both(kernel, stride, data_format="channels_last"):
    """nlcore's layer and Keras' own with the same weights, and a clip."""
    options = {"dtype": "float64", "data_format": data_format}
    made = [kind(4, kernel, stride, **options) for kind in (Conv3D, layers.Conv3D)]
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 9, 3))
    x = x if data_format == "channels_last" else np.moveaxis(x, -1, 1)
    for layer in made:
        layer.build(x.shape)
    made[1].set_weights(made[0].get_weights())
    return made, ops.convert_to_tensor(x, "float64")


def array(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_equal_to_keras(kernel, stride):
    (ours, theirs), x = both(kernel, stride)
    found, right = array(ours(x)), array(theirs(x))
    assert found.shape == right.shape == ours.compute_output_shape(x.shape)
    # sums in any order: two roundings of each term, whose sizes are at most the largest sum's
    terms = np.prod(kernel) * 3
    size = np.abs(array(x)).max() * np.abs(array(theirs.kernel)).sum((0, 1, 2, 3)).max()
    assert np.abs(found - right).max() <= 2 * terms * 2.0**-53 * size


def test_channels_first_is_keras_own(monkeypatch):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves channels-first clips on GPUs only")
    (ours, theirs), x = both((1, 3, 3), (1, 1, 1), "channels_first")
    assert np.array_equal(array(ours(x)), array(theirs(x)))


def test_a_model_of_clips_of_any_size():
    clips = keras.Input((None, None, None, 3))
    x = clips
    for kernel in ((1, 3, 3), (3, 1, 1), (3, 3, 3), (1, 1, 1)):
        x = Conv3D(4, kernel, data_format="channels_last")(x)
    model = keras.Model(clips, x)
    again = keras.Model.from_config(model.get_config())
    for size in ((1, 7, 9, 9, 3), (2, 5, 8, 10, 3)):
        shape = (size[0], size[1] - 4, size[2] - 4, size[3] - 4, 4)
        values = np.zeros(size, np.float32)
        assert tuple(model(values).shape) == tuple(again(values).shape) == shape
        assert model.predict(values, verbose=0).shape == shape


@pytest.mark.parametrize("engine", ["jax", "torch", "tensorflow"])
def test_other_engines(engine):
    if engine == keras.backend.backend():
        pytest.skip("the tests above run on it")
    pytest.importorskip(engine)
    environment = {**os.environ, "KERAS_BACKEND": engine, "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "not other_engines"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout
