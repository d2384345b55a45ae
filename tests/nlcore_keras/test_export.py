"""A model with a block is exported in every format in which Keras exports one of convolutions."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore.spec import PAIRWISE
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_keras import NonLocalBlock

ENGINE = keras.backend.backend()
#: The formats of Keras 3.15. On JAX, ONNX needs a package that lacks many operations.
FORMATS = {"tensorflow": ["tf_saved_model", "litert", "onnx"], "torch": ["onnx"]}
NEEDED = {"tf_saved_model": "tensorflow", "litert": "tensorflow", "onnx": "onnxruntime"}
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the exporters
    pytest.mark.skipif(
        ENGINE == "tensorflow" and importlib.util.find_spec("tf2onnx") is None,
        reason="Keras needs tf2onnx",
    ),
]


def convolution():
    return keras.layers.Conv2D(8, 3, padding="same")


def block(pairwise):
    fields = {"subsample": (2, 2), "identity": False, "data_format": "channels_last"}
    fields |= {"value_channels": 5, "bias": "embeddings"} if pairwise == "dot_product" else {}
    return lambda: NonLocalBlock(ndim=2, pairwise=pairwise, **fields)


def loaded(path, format):
    """The exported model as a function of an array."""
    if format == "tf_saved_model":
        import tensorflow as tf

        model = tf.saved_model.load(path)
        return lambda x: model.serve(x).numpy()
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(path)
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()

    def call(x):
        interpreter.resize_tensor_input(given["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(found["index"])

    return call


@pytest.mark.parametrize("format", FORMATS.get(ENGINE, ["tf_saved_model"]))
@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free sizes"])
@pytest.mark.parametrize(
    "make", [convolution, *map(block, PAIRWISE)], ids=["convolution", *PAIRWISE]
)
def test_on_each_engine(make, free, format, tmp_path):
    pytest.importorskip(NEEDED[format])
    if free and (ENGINE, format) == ("torch", "onnx"):
        pytest.skip("Keras traces it with axes of size 1, smaller than a pooling window")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 8) if free else (6, 4, 8))
    model = keras.Model(inputs, make()(inputs))
    path = str(tmp_path / {"onnx": "model.onnx", "litert": "model.tflite"}.get(format, "model"))
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 8)).astype("float32")
    right = ops.convert_to_numpy(model(x))  # the exporters need a model that was called
    model.export(path, format=format, verbose=False)
    try:
        found = loaded(path, format)(x)
    except Exception as error:
        if "deserialize portable artifact" in str(error):
            pytest.skip("this version of JAX writes what this version of TensorFlow cannot read")
        raise
    layer = model.layers[-1]
    if make is convolution:
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)
        return
    weights, first = layer.export_weights(), np.moveaxis(x, -1, 1)  # (B, C, H, W)
    bound = block_bounds(layer.spec, weights, first, dtype="float32")["z"]
    error = np.moveaxis(found, -1, 1) - nlcore.block(layer.spec, weights, first)
    assert (np.abs(error) <= bound).all()
