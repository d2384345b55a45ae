"""Blocks in a model that exists: whether they are the identity, and whether they train.

PyTorch and Keras report both in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class BlockActivity(NamedTuple):
    """Whether a block takes part in training.

    Attributes
    ----------
    gradient : bool or None
        Whether a gradient other than 0 has reached a weight of the block. None in Keras, whose
        engines do not store gradients.
    left_zero : bool
        Whether the block is no longer the identity that it started as.
    """

    gradient: bool | None
    left_zero: bool


def left_zero(zeros: Mapping[str, np.ndarray]) -> bool:
    """Whether any of a block's `nlcore.weights.identity_weights` is other than 0."""
    return any(bool(np.any(values)) for values in zeros.values())


def assert_zero(block: str, zeros: Mapping[str, np.ndarray]) -> None:
    """Raise AssertionError unless a block's `nlcore.weights.identity_weights` are all 0."""
    for name, values in zeros.items():
        if np.any(values):
            raise AssertionError(
                f"the block {block!r} is not the identity: expected {name} to be 0; "
                f"received values up to {np.abs(values).max():.3g}"
            )
