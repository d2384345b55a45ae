"""Checks of the tensors that a block is called with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from nlcore import NonLocalSpec, check_input

DATA_FORMATS = ("channels_last", "channels_first")


def dtype_name(name: str, value: Any) -> str:
    """The dtype of a tensor, a variable or an array, as Keras names it: "float32".

    Raises
    ------
    TypeError
        The value has no dtype. The error calls it `name`.
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        raise TypeError(f"{name} must be a tensor; received {type(value).__name__}")
    return keras.backend.standardize_dtype(dtype)


def checked_data_format(data_format: str | None) -> str:
    """The data format, or Keras' default for None; ValueError for any other value."""
    found = data_format or keras.config.image_data_format()
    if found not in DATA_FORMATS:
        raise ValueError(f"data_format must be one of {DATA_FORMATS}; received {data_format!r}")
    return found


def check_tensor(spec: NonLocalSpec, x: Any, data_format: str) -> None:
    """Raise TypeError or ValueError unless x is a tensor or array that fits the spec.

    As in Keras' own layers, the batch can be empty. Symbolic sizes, as of an exported graph, pass.
    """
    dtype = dtype_name("x", x)
    shape = tuple(n if isinstance(n, int) else None for n in x.shape)
    if shape[:1] == (0,):
        shape = (None, *shape[1:])
    check_input(spec, shape, dtype, data_format == "channels_last")


def check_dtypes(x: Any, weights: Mapping[str, Any]) -> None:
    """Raise TypeError unless the weights have x's dtype.

    Batch normalization's weights may be float32 beside a half-precision x.
    """
    dtype = dtype_name("x", x)
    for name, weight in weights.items():
        received = dtype_name(f"weight {name!r}", weight)
        allowed = (dtype, "float32") if name.startswith("bn.") else (dtype,)
        if received not in allowed:
            raise TypeError(
                f"x and weight {name!r} must have one dtype; received x {dtype} and "
                f"weight {received}"
            )
