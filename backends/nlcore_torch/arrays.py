"""NumPy arrays to tensors and back, bfloat16 through ml_dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensor(value: Any) -> Tensor:
    """A tensor with the values of an array or tensor."""
    if isinstance(value, Tensor):
        return value
    value = np.array(value, order="C")  # torch would warn of one that is read-only
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    if value.dtype.name == "bfloat16":  # which torch knows, but not NumPy's form of it
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)


def array(value: Tensor) -> np.ndarray:
    """An array with the values of a tensor on any device."""
    value = value.detach().cpu()
    if value.dtype == torch.bfloat16:
        import ml_dtypes  # only where bfloat16 is asked for

        return value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()
