"""Batch normalization in training: PyTorch's, by the modes of recipes."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

from nlcore_keras.batch_norm import Moments, observed_moments
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.video.network_layers import BatchNorm
from nlcore_keras.video.norms import MomentSums
from nlcore_torch.batch_norm import BatchNorm3d

#: A sum of 30 numbers below 4 in any order, and a few roundings.
BOUND = 40 * 30 * 4 * 2.0**-53


def layers_of(axis=-1):
    """The same layer of Keras and of PyTorch, with random statistics, of 3 channels."""
    rng = np.random.default_rng(0)
    layer = BatchNorm(axis, 0.9, 1e-5, dtype="float64")
    layer.build((None, 3, None, None, None) if axis == 1 else (None, None, None, None, 3))
    theirs = BatchNorm3d(3, 1e-5, dtype=torch.float64)
    parts = zip(
        (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance),
        (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var),
        strict=True,
    )
    for ours, other in parts:
        value = rng.uniform(0.5, 1.5, 3)
        ours.assign(value)
        other.data.copy_(torch.from_numpy(value))
    return layer, theirs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("axis", [-1, 1])
def test_the_layer_is_torchs_on_each_engine(training, axis):
    layer, theirs = layers_of(axis)
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 3, 1))
    right = theirs.train(training)(torch.from_numpy(x)).detach().numpy()
    given = x if axis == 1 else np.moveaxis(x, 1, -1)
    found = ops.convert_to_numpy(layer(given, training=training))
    found = found if axis == 1 else np.moveaxis(found, -1, 1)
    assert np.abs(found - right).max() <= BOUND
    for own, other in (
        (layer.moving_mean, theirs.running_mean),
        (layer.moving_variance, theirs.running_var),
    ):
        assert np.abs(ops.convert_to_numpy(own.value) - other.numpy()).max() <= BOUND


def test_statistics_are_fixed_where_it_is_not_trainable_on_each_engine():
    layer, theirs = layers_of()
    layer.trainable = False
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 3, 1))
    found = ops.convert_to_numpy(layer(np.moveaxis(x, 1, -1), training=True))
    right = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    assert np.abs(np.moveaxis(found, -1, 1) - right).max() <= BOUND


def test_observed_moments_change_nothing_on_each_engine():
    layer, _ = layers_of()
    block = NonLocalBlock(identity=False, dtype="float64", data_format="channels_last")
    x = np.random.default_rng(1).normal(size=(2, 5, 3, 2, 3))
    block.build(x.shape)
    before = [ops.convert_to_numpy(v.value) for v in (*layer.variables, *block.variables)]
    with observed_moments() as seen:
        layer(x, training=True)
        block(x, training=True)
        block(x, training=False)
    after = [ops.convert_to_numpy(v.value) for v in (*layer.variables, *block.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert [one is other for (one, _), other in zip(seen, (layer, block), strict=True)] == [1, 1]
    assert isinstance(seen[0][1], Moments)
    assert np.abs(ops.convert_to_numpy(seen[0][1].mean) - x.mean((0, 1, 2, 3))).max() <= BOUND
    layer(x, training=True)
    assert not np.array_equal(ops.convert_to_numpy(layer.moving_mean.value), before[2])


def test_sums_of_moments():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 10, 3))  # batches, positions, channels
    mean, variance = x.mean(1), x.var(1)
    sums = MomentSums()
    sums.add({"bn1": (mean[0], variance[0])}, 1)
    sums.add({"bn1": (mean[1:3], variance[1:3])}, 2)  # of two devices
    sums.add({"bn1": (mean[3], variance[3])}, 1)
    found = sums.statistics()
    assert np.abs(found["bn1.running_mean"] - x.mean((0, 1))).max() <= BOUND
    assert np.abs(found["bn1.running_var"] - x.var((0, 1))).max() <= BOUND
    assert MomentSums().statistics() == {}
    constant = MomentSums()
    constant.add({"bn1": (np.full(1, 0.1), np.zeros(1))}, 1)
    constant.add({"bn1": (np.full(1, 0.1), np.zeros(1))}, 1)
    assert (constant.statistics()["bn1.running_var"] >= 0).all()


def test_a_layer_through_its_config():
    layer = BatchNorm(1, 0.8, 1e-4, name="bn1")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is BatchNorm and again.get_config() == layer.get_config()
