"""Blocks in a Keras model that exists already."""

import keras
import numpy as np
import pytest
from keras import ops

from nlcore import NonLocalSpec
from nlcore.video import NetworkSpec
from nlcore_keras import NonLocalBlock
from nlcore_keras.insertion import (
    InsertedBlock,
    assert_identity,
    block_activity,
    insert,
    non_local_blocks,
    remove,
)
from nlcore_keras.video import Network

LAST = {"data_format": "channels_last"}


def functional():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, name="conv", activation="relu", **LAST)(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch", **LAST)(x)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.GlobalAveragePooling2D(**LAST)(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def sequential():
    keras.utils.set_random_seed(0)
    parts = [keras.Input((12, 12, 3)), keras.layers.Conv2D(8, 3, name="conv", **LAST)]
    parts += [keras.layers.ReLU(name="add"), keras.layers.Flatten(), keras.layers.Dense(4)]
    return keras.Sequential(parts)


def features(name="inner"):
    """A model to nest: convolutions by name."""
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, name="conv1", **LAST)(x)
    return keras.Model(inputs, keras.layers.ReLU(name="relu1")(x), name=name)


def nested():
    """A functional model and a sequential one in a functional model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    inner = features()
    both = keras.layers.Add(name="add")([inner(inputs), inner(2 * inputs)])
    deep = [keras.layers.Conv2D(4, 3, name="deep", **LAST), keras.layers.Flatten()]
    return keras.Model(inputs, keras.Sequential(deep, name="tail")(both))


WHERE = {"conv": {"pairwise": "dot_product", "subsample": (2, 2)}, "add": {"batch_norm": False}}
NAMES = ["conv_non_local", "add_non_local"]


@pytest.fixture(params=[functional, sequential])
def model(request):
    return request.param()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")


def computed(model, x):
    return ops.convert_to_numpy(model(ops.convert_to_tensor(x)))


def test_bit_identical_at_insertion(model, x):
    with_blocks = insert(model, WHERE)
    assert_identity(with_blocks)
    found = non_local_blocks(with_blocks)
    assert {name: b.spec.channels for name, b in found.items()} == dict.fromkeys(NAMES, 8)
    assert {type(block) for block in found.values()} == {InsertedBlock}
    np.testing.assert_array_equal(with_blocks.predict(x, verbose=0), model.predict(x, verbose=0))
    assert non_local_blocks(model) == {}


def test_removed(model, x):
    with_blocks = insert(model, WHERE, identity=False)
    expected = model.predict(x, verbose=0)
    assert not np.array_equal(with_blocks.predict(x, verbose=0), expected)
    plain = remove(with_blocks)
    assert non_local_blocks(plain) == {} and type(plain) is type(model)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), expected)
    assert set(non_local_blocks(insert(plain, WHERE))) == set(NAMES)  # again


def test_activity(model, x):
    with_blocks = insert(model, WHERE)
    before = block_activity(with_blocks)
    assert {name: tuple(a) for name, a in before.items()} == dict.fromkeys(NAMES, (None, False))
    with_blocks.compile("sgd", "mse")
    with_blocks.fit(x, np.ones((2, 4)), verbose=0)
    assert [a.left_zero for a in block_activity(with_blocks).values()] == [True, True]
    with pytest.raises(AssertionError, match=r"the block '.*_non_local' is not the identity"):
        assert_identity(with_blocks)


def test_saved_and_loaded(model, x, tmp_path):
    with_blocks = insert(model, WHERE, identity=False)
    with_blocks.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (with_blocks, other)))
    assert set(non_local_blocks(other)) == set(NAMES)
    assert non_local_blocks(remove(other)) == {}


def test_a_sequential_stays_one_and_nests_on_each_engine(x):
    plain = sequential()
    with_block = insert(plain, {"conv": {}})
    assert type(with_block) is keras.Sequential
    assert [layer.name for layer in with_block.layers][:3] == ["conv", "conv_non_local", "add"]
    assert computed(with_block, x).shape == (2, 4)  # of one tensor, not a list of one
    outer = keras.Sequential([keras.Input((12, 12, 3)), with_block, keras.layers.Dense(2)])
    assert outer.predict(x, verbose=0).shape == (2, 2)
    inputs = keras.Input((12, 12, 3))
    wrapped = keras.Model(inputs, with_block(inputs))
    np.testing.assert_array_equal(computed(wrapped, x), computed(plain, x))
    assert list(non_local_blocks(wrapped)) == [f"{with_block.name}/conv_non_local"]


def test_a_compiled_model_stays_compiled(model, x):
    model.compile(keras.optimizers.SGD(0.25), "mse")
    with_blocks = insert(model, WHERE)
    assert with_blocks.compiled and float(with_blocks.optimizer.learning_rate) == 0.25
    with_blocks.fit(x, np.ones((2, 4)), verbose=0)


def test_models_in_models_on_each_engine(x, tmp_path):
    plain = nested()
    where = {"inner/conv1": {"pairwise": "dot_product"}, "tail/deep": {}, "inner": {}}
    names = ["inner/conv1_non_local", "inner_non_local", "tail/deep_non_local"]
    model = insert(plain, where)
    assert_identity(model)
    assert list(non_local_blocks(model)) == names
    np.testing.assert_array_equal(computed(model, x), computed(plain, x))
    assert non_local_blocks(plain) == {}

    changed = insert(plain, where, identity=False)
    assert not np.array_equal(computed(changed, x), computed(plain, x))
    np.testing.assert_array_equal(computed(remove(changed), x), computed(plain, x))
    changed.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(computed(loaded, x), computed(changed, x))
    assert list(non_local_blocks(loaded)) == names


def test_a_nested_model_that_is_called_twice_has_one_block(x):
    model = insert(nested(), {"inner/conv1": {}}, identity=False)
    (block,) = non_local_blocks(model).values()
    inner, conv = model.get_layer("inner"), model.get_layer("inner").get_layer("conv1")
    want = ops.relu(block(conv(x)))
    np.testing.assert_allclose(computed(inner, x), ops.convert_to_numpy(want), rtol=1e-5, atol=1e-5)
    assert sum(layer.name == "inner" for layer in model.layers) == 1


def test_a_model_whose_input_is_a_sequential_of_nested_models(x):
    outer = keras.Sequential([keras.Input((12, 12, 3)), features(), keras.layers.Flatten()])
    model = insert(outer, {"inner/relu1": {}})
    assert list(non_local_blocks(model)) == ["inner/relu1_non_local"]
    np.testing.assert_array_equal(computed(model, x), computed(outer, x))


@keras.saving.register_keras_serializable("tests")
class Pair(keras.Layer):
    """Two blocks of one name, in a layer that Keras cannot rebuild."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = NonLocalBlock(ndim=2, name="block", identity=False, **LAST)
        self.second = NonLocalBlock(ndim=2, name="block", **LAST)

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        return self.second(self.first(x))


def test_every_block_of_a_model_is_found():
    inputs = keras.Input((12, 12, 3))
    own = NonLocalBlock(ndim=2, name="mine_non_local", **LAST)
    x = Pair(name="pair")(own(insert(features(), {"conv1": {}})(inputs)))
    model = keras.Model(inputs, x)
    found = non_local_blocks(model)
    assert list(found) == ["inner/conv1_non_local", "mine_non_local", "pair/block", "pair/block_1"]
    assert all(isinstance(block, NonLocalBlock) for block in found.values())
    assert [a.left_zero for a in block_activity(model).values()] == [False, False, True, False]
    with pytest.raises(AssertionError, match="the block 'pair/block' is not the identity"):
        assert_identity(model)
    # only what insert put in is taken out
    assert list(non_local_blocks(remove(model))) == ["mine_non_local", "pair/block", "pair/block_1"]


def test_a_block_is_its_own_model():
    block = NonLocalBlock.from_spec(NonLocalSpec(4, ndim=1), name="alone")
    assert non_local_blocks(block) == {"alone": block}
    assert_identity(block)


def test_a_networks_own_blocks_stay():
    spec = NetworkSpec(width=2, classes=5, non_local=("res2.0",))
    network = Network(spec, positions=(6, 33, 32), **LAST)
    model = insert(network, {"res3_0_conv1": {"pairwise": "dot_product"}})
    assert list(non_local_blocks(network)) == ["res2_0_non_local"]
    assert list(non_local_blocks(model)) == ["res2_0_non_local", "res3_0_conv1_non_local"]
    assert list(non_local_blocks(remove(model))) == ["res2_0_non_local"]


def test_no_block_is_no_identity():
    with pytest.raises(ValueError, match="must contain a non-local block; received 'plain'"):
        assert_identity(features("plain"))
    assert block_activity(features("plain")) == {}


def test_frozen_layers_stay_frozen_and_the_block_trains():
    model = nested()
    model.trainable = False
    with_block = insert(model, {"inner/conv1": {}})
    (block,) = non_local_blocks(with_block).values()
    trainable = {id(v) for v in with_block.trainable_variables}
    assert trainable == {id(v) for v in block.trainable_variables} != set()


def channels_first():
    x = inputs = keras.Input((3, 12, 10))
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv", data_format="channels_first")(x)
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.ReLU(name="relu")(x)))


def test_the_data_format_is_the_models():
    # ReLU has none, and Flatten's is not the images'
    for name in ("conv", "relu"):
        (block,) = non_local_blocks(insert(channels_first(), {name: {}})).values()
        assert (block.data_format, block.spec.channels) == ("channels_first", 8)


def test_the_dtype_is_the_layers():
    inputs = keras.Input((12, 12, 3))
    conv = keras.layers.Conv2D(4, 3, name="conv", dtype="mixed_float16", **LAST)
    model = insert(keras.Model(inputs, conv(inputs)), {"conv": {}})
    assert model.get_layer("conv_non_local").dtype_policy.name == "mixed_float16"


def test_an_application():
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=3)
    with_block = insert(model, {"conv4_block5_out": {"pairwise": "dot_product"}})
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(
        with_block.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert non_local_blocks(with_block)["conv4_block5_out_non_local"].spec.channels == 1024


class Two(keras.Layer):
    """Puts out two tensors."""

    def call(self, x):
        return x, 2 * x


def two():
    inputs = keras.Input((12, 12, 3))
    return keras.Model(inputs, Two(name="two")(inputs)[0])


@pytest.mark.parametrize(
    ("make", "where", "error", "message"),
    [
        (
            functional,
            {"con": {}},
            ValueError,
            r"a layer of the model; received 'con', beside \['co",
        ),
        (nested, {"conv1": {}}, ValueError, r"in a nested model, as \['inner/conv1'\]"),
        (nested, {"inner/conv2": {}}, ValueError, r"beside \['inner/conv1'"),
        (nested, {"add/conv": {}}, ValueError, "'add' is no functional .* of class Add"),
        (functional, {"conv": {"pairwise": "cosine"}}, ValueError, "pairwise must be one of"),
        (nested, {"tail": {}}, ValueError, r"one to three axes.* 'tail' returned shape \(None, 2"),
        (two, {"two": {}}, TypeError, "returns one tensor; 'two' returned a tuple"),
        (lambda: keras.layers.Dense(3), {"conv": {}}, TypeError, "sequential; received Dense"),
        (
            lambda: keras.Sequential([keras.layers.Dense(3, name="conv")]),
            {"conv": {}},
            ValueError,
            "a Sequential must be built",
        ),
    ],
)
def test_errors(make, where, error, message):
    with pytest.raises(error, match=message):
        insert(make(), where)


def test_a_layer_takes_one_block(model):
    with pytest.raises(ValueError, match="'conv' has a block already"):
        insert(insert(model, {"conv": {}}), {"conv": {}})


def test_two_names_of_one_layer():
    shared = keras.layers.Conv2D(8, 3, name="conv", **LAST)
    parts = [keras.Sequential([keras.Input((12, 12, 3)), shared], name=name) for name in "ab"]
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, keras.layers.Add()([part(inputs) for part in parts]))
    with pytest.raises(ValueError, match=r"one block; received its names \['a/conv', 'b/conv'\]"):
        insert(model, {"a/conv": {}, "b/conv": {}})


def test_a_layer_that_is_not_called_is_refused(x):
    inputs = keras.Input((8, 8, 3), name="inputs")
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    with pytest.raises(ValueError, match=r"layers that the model calls; received \['inputs'\]"):
        insert(model, {"inputs": {}})
