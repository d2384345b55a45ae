"""Conversion of NumPy arrays to tensors and back. ml_dtypes provides NumPy's bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensor(value: Any) -> Tensor:
    """Convert an array to a tensor with a copy of its values. A tensor is returned as it is."""
    if isinstance(value, Tensor):
        return value
    value = np.array(value, order="C")  # a copy, because torch warns of read-only arrays
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    if value.dtype.name == "bfloat16":  # torch does not accept the bfloat16 of ml_dtypes
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)


def array(value: Tensor) -> np.ndarray:
    """Convert a tensor on any device to an array. The parts of a DTensor are gathered."""
    value = value.detach()
    if hasattr(value, "full_tensor"):  # a DTensor
        value = value.full_tensor()
    value = value.cpu()
    if value.dtype == torch.bfloat16:
        import ml_dtypes  # an optional dependency, needed for bfloat16 only

        return value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()
