"""Checks of tensors: kinds, data formats, dtypes."""

import keras
import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore_keras.operation.arguments import (
    check_dtypes,
    check_tensor,
    checked_data_format,
    dtype_name,
)


def test_names_of_dtypes(tensors):
    (tensor,) = tensors(np.ones(2), dtype="float32")
    variable = keras.Variable(np.ones(2), dtype="float16")
    symbol = keras.KerasTensor((None, 2), dtype="bfloat16")
    values = (tensor, variable, symbol, np.ones(2, int))
    expected = ["float32", "float16", "bfloat16", "int64"]
    assert [dtype_name("x", value) for value in values] == expected
    with pytest.raises(TypeError, match="y must be a tensor; received float"):
        dtype_name("y", 1.0)


def test_data_formats():
    assert checked_data_format(None) == keras.config.image_data_format()
    assert checked_data_format("channels_first") == "channels_first"
    with pytest.raises(ValueError, match=r"data_format must be one of .* received 'first'"):
        checked_data_format("first")


@pytest.mark.parametrize(
    ("data_format", "shape"),
    [("channels_last", (2, 5, 4)), ("channels_first", (2, 4, 5)), ("channels_last", (2, None, 4))],
)
def test_shapes_by_data_format(data_format, shape):
    spec = NonLocalSpec(4, ndim=1)
    check_tensor(spec, keras.KerasTensor(shape), data_format)
    with pytest.raises(ValueError, match=r"must have 4 channels.* received shape"):
        check_tensor(spec, keras.KerasTensor((2, 6, 6)), data_format)


def test_dtypes_go_together(tensors):
    (x,) = tensors(np.ones(2), dtype="float16")
    wide, narrow = np.ones(2, "float32"), np.ones(2, "float16")
    check_dtypes(x, {"g.weight": narrow, "bn.weight": wide, "bn.bias": narrow})
    with pytest.raises(TypeError, match=r"'g.weight' must have one dtype; received x float16 and"):
        check_dtypes(x, {"g.weight": wide})
    with pytest.raises(TypeError, match=r"'bn.weight' must have one dtype.* weight float64"):
        check_dtypes(x, {"bn.weight": np.ones(2)})
    with pytest.raises(TypeError, match=r"weight 'g.bias' must be a tensor; received float"):
        check_dtypes(x, {"g.bias": 0.0})
