"""Max-pooling whose stride is its window. Positions that do not fill a window are dropped.

Of equal maxima, the first position in row-major order counts. A NaN in a window is its maximum.
"""

from __future__ import annotations

import math

import numpy as np


def max_pool(x: np.ndarray, window: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pool x (B, *positions, D) -> maxima (B, *pooled, D) and their indices in their windows.

    The indices have shape (B, *pooled, 1, D) and count the positions of a window in row-major
    order.
    """
    split = windows(x, window)  # (B, *pooled, W, D)
    index = split.argmax(axis=-2)[..., None, :]  # (B, *pooled, 1, D)
    return np.take_along_axis(split, index, -2)[..., 0, :], index


def max_pool_vjp(
    shape: tuple[int, ...], window: tuple[int, ...], index: np.ndarray, dy: np.ndarray
) -> np.ndarray:
    """Gradient of `max_pool`: dy (B, *pooled, D) at the positions of the maxima, 0 elsewhere.

    `shape` is the shape of the input of `max_pool` and of the result.
    """
    split = np.zeros((*dy.shape[:-1], math.prod(window), dy.shape[-1]))  # (B, *pooled, W, D)
    np.put_along_axis(split, index, dy[..., None, :], -2)
    return from_windows(split, shape, window)


def windows(x: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """(B, *positions, D) -> (B, *pooled, W, D), the W positions of a window in row-major order."""
    pooled = [n // w for n, w in zip(x.shape[1:-1], window, strict=True)]
    kept = x[:, *(slice(n * w) for n, w in zip(pooled, window, strict=True))]
    axes = [n for pair in zip(pooled, window, strict=True) for n in pair]
    split = kept.reshape(x.shape[0], *axes, x.shape[-1])  # (B, P1, W1, P2, W2, ..., D)
    order = np.argsort(_interleaved(len(window)))
    return split.transpose(order).reshape(x.shape[0], *pooled, -1, x.shape[-1])


def from_windows(split: np.ndarray, shape: tuple[int, ...], window: tuple[int, ...]) -> np.ndarray:
    """The inverse of `windows`: (B, *pooled, W, D) -> `shape`, 0 at dropped positions."""
    batch, *pooled, _, depth = split.shape
    x = np.zeros(shape)
    kept = x[:, *(slice(n * w) for n, w in zip(pooled, window, strict=True))]  # a view
    axes = split.reshape(batch, *pooled, *window, depth).transpose(_interleaved(len(window)))
    kept[...] = axes.reshape(kept.shape)
    return x


def _interleaved(ndim: int) -> list[int]:
    """The axis order that takes (B, P1, P2, ..., W1, W2, ..., D) to (B, P1, W1, P2, W2, ..., D)."""
    pairs = [axis for n in range(ndim) for axis in (1 + n, 1 + ndim + n)]
    return [0, *pairs, 2 * ndim + 1]
