"""Placement reports of Keras models, against the networks as data and counts by hand."""

from itertools import product

import keras
import numpy as np
import pytest
from keras import layers

import nlcore_torch
from nlcore import NonLocalSpec
from nlcore import video as data
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore.video import NetworkSpec, placement
from nlcore.video.placed_blocks import placed
from nlcore_keras import NonLocalBlock, execution, insert, placement_report, remove
from nlcore_keras.video import Network

LAST = {"data_format": "channels_last"}


def products(report):
    """Multiply-adds of all but the blocks."""
    return report.multiply_adds - sum(block.multiply_adds for block in report.blocks)


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(50, "none", placement(50, 5), {"subsample_at": "input", "bias": True}),
        NetworkSpec(50, "3x1x1", ("res2.1", "res5.1"), {"pairwise": "concatenation"}, width=8),
        NetworkSpec(50, "3x3x3", placement(50, 1), {"extent": "space"}, width=8, stride_at="1x1"),
    ],
    ids=["5 blocks", "concatenation", "space"],
)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_the_networks(spec, layout):
    network = Network(spec, data_format=layout)
    size = (32, 224, 224)
    report = placement_report(
        network, (1, *size, 3) if layout == "channels_last" else (1, 3, *size)
    )
    want = data.placement_report(spec, executes=execution)
    assert report.parameters == want.parameters
    assert report.multiply_adds == want.multiply_adds
    assert report.executed == want.executed
    # Keras' names have no dots
    named = [(block.name.replace(".", "_"), *vars(block).values()) for block in want.blocks]
    got = [(block.name, *vars(block).values()) for block in report.blocks]
    assert [row[0:1] + row[2:] for row in got] == [row[0:1] + row[2:] for row in named]


def test_a_small_network_on_each_engine():
    spec = NetworkSpec(width=2, classes=5).with_blocks(1)
    report = placement_report(Network(spec, positions=(8, 64, 64), dtype="float64"))
    want = data.placement_report(spec, (8, 64, 64), 8, execution)
    assert (report.parameters, report.multiply_adds) == (want.parameters, want.multiply_adds)
    assert report.blocks[0].pairs == want.blocks[0].pairs  # of 8 bytes a number


def host():
    """Every counted kind of layer, and the multiply-adds of one image."""
    x = inputs = keras.Input((12, 12, 4))
    x = layers.Conv2D(8, 3, groups=2, name="conv", **LAST)(x)  # (10, 10, 8)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, **LAST)(x)  # (8, 8, 16)
    x = layers.SeparableConv2D(5, 3, **LAST)(x)  # (6, 6, 5)
    x = layers.Conv2DTranspose(4, 3, strides=2, **LAST)(x)  # (13, 13, 4)
    x = layers.Reshape((169, 4))(x)
    x = layers.MultiHeadAttention(2, 3, value_dim=3)(x, value=x)  # (169, 4)
    # EinsumDense of earlier versions loses the size of the batch
    keeps = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 15)
    x = (layers.EinsumDense("abc,cde->abde", (169, 3, 2)) if keeps else layers.Dense(6))(x)
    x = layers.Flatten()(x)
    count = 100 * 8 * 2 * 9 + 64 * 16 * 9 + 36 * (16 * 9 + 5 * 16) + 36 * 5 * 4 * 9
    count += 169 * (4 * 4 * 2 * 3) + 169 * 169 * 2 * (3 + 3) + 169 * 4 * 3 * 2 + 169 * 6 * 7
    return keras.Model(inputs, layers.Dense(7)(x)), count


WHERE = {"relu": {"subsample": (2, 2)}, "conv": {"pairwise": "dot_product", "batch_norm": False}}


def test_any_model_on_each_engine():
    plain, count = host()
    model = insert(plain, WHERE)
    report = placement_report(model, np.zeros((3, 12, 12, 4)))
    assert [(b.name, b.shape) for b in report.blocks] == [
        ("conv_non_local", (3, 8, 10, 10)),
        ("relu_non_local", (3, 8, 10, 10)),
    ]
    for block in report.blocks:
        spec = model.get_layer(block.name).spec
        assert block == placed(block.name, spec, block.shape, 4, execution)
        assert block.kept is None and block.executed > 0
    assert products(report) == 3 * count
    assert report.parameters == sum(np.prod(w.shape) for w in model.trainable_weights)
    without = placement_report(remove(model))
    assert (without.blocks, without.multiply_adds) == ((), count)
    assert "relu_non_local" in str(report)


def test_frozen_parameters_count():
    model = insert(host()[0], WHERE)
    before = placement_report(model)
    model.trainable = False
    assert placement_report(model) == before


@keras.saving.register_keras_serializable("tests")
class Residual(keras.Layer):
    """A layer with layers in it, a block and a sequential model among them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same", name="conv", **LAST)
        self.block = NonLocalBlock(ndim=2, name="block", **LAST)
        self.tail = keras.Sequential([layers.Conv2D(8, 1, **LAST), layers.ReLU()], name="tail")

    def build(self, shape):
        for layer in (self.conv, self.block, self.tail):
            layer.build(shape)

    def call(self, x):
        return x + self.tail(self.block(self.conv(x)))


def test_layers_in_layers_on_each_engine():
    inputs = keras.Input((6, 6, 8))
    layer = Residual(name="residual")
    model = keras.Model(inputs, layer(layer(inputs)))
    with pytest.warns(UserWarning, match=r"leaves out the own products of 'residual' \(Residual\)"):
        report = placement_report(model)
    own = sum(np.prod(w.shape) for w in layer.block.trainable_weights)
    assert [(b.name, b.shape, b.parameters) for b in report.blocks] == [
        ("residual/block", (1, 8, 6, 6), own),
        ("residual/block", (1, 8, 6, 6), 0),
    ]
    assert products(report) == 2 * 36 * (8 * 8 * 9 + 8 * 8)
    assert "call" not in layer.conv.__dict__ and "call" not in layer.block.__dict__


class Subclassed(keras.Model):
    """Calls a block on two sizes, and another not at all."""

    def __init__(self):
        super().__init__()
        self.block = NonLocalBlock.from_spec(NonLocalSpec(4, ndim=1), name="block", **LAST)
        self.idle = NonLocalBlock.from_spec(NonLocalSpec(4, ndim=1), name="idle", **LAST)

    def call(self, x):
        return self.block(self.block(x)[:, ::2])


def test_a_subclass_and_a_block_that_is_not_called():
    model = Subclassed()
    model.built = True
    with pytest.warns(UserWarning, match="Subclassed"):
        report = placement_report(model, (1, 10, 4))
    assert [(b.name, b.shape) for b in report.blocks] == [
        ("block", (1, 4, 10)),
        ("block", (1, 4, 5)),
        ("idle", ()),
    ]
    assert report.blocks[2].parameters > 0 == report.blocks[2].executed
    assert report.executed is not None and products(report) == 0
    with pytest.raises(ValueError, match="must be one for each input"):
        placement_report(model)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (layers.LSTM(3, name="lstm"), r"'lstm' \(LSTM\)"),
        (layers.TimeDistributed(layers.Dense(3), name="each"), r"'each' \(TimeDistributed\)"),
        (layers.Lambda(lambda x: x, output_shape=(5, 4), name="own"), r"'own' \(Lambda\)"),
    ],
)
def test_what_is_left_out_is_named(layer, name):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, layer(layers.Dense(4)(inputs)))
    with pytest.warns(UserWarning, match=f"leaves out the own products of {name}$"):
        report = placement_report(model)
    assert report.multiply_adds == 5 * 4 * 4


def test_products_of_keras_ops_are_left_out_and_named():
    inputs = keras.Input((5, 4))
    x = keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1)))
    with pytest.warns(UserWarning, match=r"\(Matmul\)$"):
        placement_report(keras.Model(inputs, keras.ops.relu(x)))


def test_nested_models():
    plain, count = host()
    x = inputs = keras.Input((12, 12, 4))
    outputs = layers.Add()([plain(x), keras.Sequential([plain, layers.Dense(7)])(x)])
    model = insert(keras.Model(inputs, outputs), {f"{plain.name}/conv": {}})
    report = placement_report(model, (2, 12, 12, 4))
    assert products(report) == 2 * (2 * count + 7 * 7)
    assert [b.name for b in report.blocks] == [f"{plain.name}/conv_non_local"]


def test_errors():
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, NonLocalBlock(ndim=1, subsample=(4,), **LAST)(inputs))
    with pytest.raises(ValueError, match=r"sizes must be known: .* has \(1, None, 8\)"):
        placement_report(model)
    with pytest.raises(ValueError, match="axis T must be at least its pooling window 4"):
        placement_report(model, (1, 3, 8))
    for wrong in ([(4, 8)], [(1, 4, 8), (1, 4, 8)]):
        with pytest.raises(
            ValueError, match=r"shapes must be \[\(None, None, 8\)\], with the batc"
        ):
            placement_report(model, *wrong)
    assert placement_report(model, (1, 4, 8)).blocks[0].shape == (1, 8, 4)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize(
    ("normalization", "fields"),
    list(
        product(NORMALIZATIONS, [{}, {"subsample": (1, 2, 2)}, {"extent": "time"}, {"window": 2}])
    ),
)
def test_keys_come_first(pairwise, normalization, fields):
    spec = NonLocalSpec(6, 4, pairwise=pairwise, normalization=normalization, **fields)
    found = execution(spec, (4, 5, 6))
    theirs = nlcore_torch.execution(spec, (4, 5, 6))
    assert found.kept is None
    if pairwise != "dot_product":
        assert found.multiply_adds == theirs.multiply_adds
        return
    n, keys = 120, 4 * (5 * 6 if "subsample" not in fields else 2 * 3)
    embeddings = 2 * n * 6 * 4 + 2 * n * 6 * 4  # theta and W_z, phi and g
    by_sum = n * 4 if normalization == "sum" else 0
    assert found.multiply_adds == embeddings + (n + keys) * 4 * 4 + by_sum
