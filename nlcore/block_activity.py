"""State of the blocks inserted into a model: whether each is the identity, and whether it trains.

The PyTorch and Keras backends share this module, so that both report the same.
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
        Whether a weight of the block has a gradient other than 0. None in Keras, whose engines do
        not store gradients.
    left_zero : bool
        Whether the block is no longer the identity: one of its
        `nlcore.weights.identity_weights` contains a value other than 0.
    """

    gradient: bool | None
    left_zero: bool


def left_zero(zeros: Mapping[str, np.ndarray]) -> bool:
    """Whether any of a block's `nlcore.weights.identity_weights` contains a value other than 0."""
    return any(bool(np.any(values)) for values in zeros.values())


def assert_zero(block: str, zeros: Mapping[str, np.ndarray]) -> None:
    """Raise AssertionError unless all of a block's `nlcore.weights.identity_weights` are 0."""
    for name, values in zeros.items():
        if np.any(values):
            raise AssertionError(
                f"the block {block!r} is not the identity: expected {name} to be 0; "
                f"received values up to {np.abs(values).max():.3g}"
            )
