"""Blocks in a Keras model that exists already."""

import keras
import numpy as np
import pytest

from nlcore_keras.insertion import assert_identity, non_local_blocks, insert, block_activity, remove


def functional():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, name="conv", activation="relu")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch")(x)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def sequential():
    keras.utils.set_random_seed(0)
    parts = [keras.Input((12, 12, 3)), keras.layers.Conv2D(8, 3, name="conv")]
    parts += [keras.layers.ReLU(name="add"), keras.layers.Flatten(), keras.layers.Dense(4)]
    return keras.Sequential(parts)


WHERE = {"conv": {"pairwise": "dot_product", "subsample": (2, 2)}, "add": {"batch_norm": False}}


@pytest.fixture(params=[functional, sequential])
def model(request):
    return request.param()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")


def test_bit_identical_at_insertion(model, x):
    with_blocks = insert(model, WHERE)
    assert_identity(with_blocks)
    assert {name: b.spec.channels for name, b in non_local_blocks(with_blocks).items()} == dict.fromkeys(
        WHERE, 8
    )
    np.testing.assert_array_equal(with_blocks.predict(x, verbose=0), model.predict(x, verbose=0))
    assert non_local_blocks(model) == {}


def test_removed(model, x):
    with_blocks = insert(model, WHERE, identity=False)
    expected = model.predict(x, verbose=0)
    assert not np.array_equal(with_blocks.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(remove(with_blocks).predict(x, verbose=0), expected)


def test_activity(model, x):
    with_blocks = insert(model, WHERE)
    assert block_activity(with_blocks) == dict.fromkeys(WHERE, False)
    with_blocks.compile("sgd", "mse")
    with_blocks.fit(x, np.ones((2, 4)), verbose=0)
    assert block_activity(with_blocks) == dict.fromkeys(WHERE, True)
    with pytest.raises(AssertionError, match="the block after 'conv' is not the identity"):
        assert_identity(with_blocks)


def test_saved_and_loaded(model, x, tmp_path):
    with_blocks = insert(model, WHERE, identity=False)
    with_blocks.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (with_blocks, other)))
    assert set(non_local_blocks(other)) == set(WHERE)


def test_an_application(x):
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=3)
    with_block = insert(model, {"conv4_block5_out": {"pairwise": "dot_product"}})
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(
        with_block.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert non_local_blocks(with_block)["conv4_block5_out"].spec.channels == 1024


def test_errors(model):
    with pytest.raises(
        ValueError, match=r"a block must follow a layer of the model; received 'con"
    ):
        insert(model, {"con": {}})
    with pytest.raises(ValueError, match="'conv' has a block already"):
        insert(insert(model, {"conv": {}}), {"conv": {}})
    with pytest.raises(TypeError, match="must be functional or sequential; received Dense"):
        insert(keras.layers.Dense(3), {"conv": {}})
