"""Floating-point formats: the unit roundoff and the range of each dtype."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Format(NamedTuple):
    """A binary floating-point format."""

    unit: float  # unit roundoff: half the distance from 1 to the next number
    tiny: float  # largest error of underflow
    huge: float  # largest finite number


#: float16 underflows gradually, down to 2^-24. The others may flush to zero.
FORMATS = {
    "float64": Format(2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max)),
    "float32": Format(2.0**-24, 2.0**-126, float(np.finfo(np.float32).max)),
    "float16": Format(2.0**-11, 2.0**-25, 65504.0),
    "bfloat16": Format(2.0**-8, 2.0**-126, 3.3895313892515355e38),
}


def dtype_named(name: str) -> np.dtype:
    """NumPy's dtype of this name; bfloat16 is that of ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def default_sums(dtype: str) -> str:
    """The dtype of a backend's sums unless it declares another: float32 or float64."""
    return "float64" if dtype == "float64" else "float32"
