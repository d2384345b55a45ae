"""Where a position looks: the weights w_ij = f(x_i, x_j) / C(x) of one i (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nlcore.reference.extent import fold, unfold
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.operation.arguments import check_tensor
from nlcore_keras.operation.embeddings import embeddings
from nlcore_keras.operation.stages import pair_weights


class TopResponses(NamedTuple):
    """The largest w_ij of one position i, in descending order."""

    weights: np.ndarray  # (B, k)
    positions: np.ndarray  # (B, k, ndim): of j in x; with subsampling, where its window begins


def responses(layer: NonLocalBlock, x: Any, position: Sequence[int]) -> np.ndarray:
    """w_ij of the position i for every j, such that y_i = sum_j w_ij g(x_j).

    Parameters
    ----------
    layer
        Built; for any pairwise function, normalization and extent. j that i does not see have
        w_ij = 0.
    x : (B, *positions, C), or (B, C, *positions) as the layer's data_format
        A tensor or array.
    position
        i, an index for each axis of positions.

    Returns
    -------
    weights : (B, *pooled positions)
        A NumPy array on every engine, as figures need it: float64 for a layer that computes in
        float64, else float32.

    Raises
    ------
    ValueError, TypeError
        An x that does not fit the layer, a layer that is not built, or a position outside x.

    Notes
    -----
    No N x M array is made: w is computed for the one i.

    Examples
    --------
    >>> import keras
    >>> layer = NonLocalBlock(ndim=2, subsample=(2, 2), data_format="channels_last")
    >>> x = keras.random.normal((1, 8, 8, 16))
    >>> z = layer(x)  # builds the layer
    >>> responses(layer, x, (3, 4)).shape
    (1, 4, 4)
    """
    weights = layer.named_weights()
    spec = layer.spec
    assert spec is not None
    check_tensor(spec, x, layer.data_format)
    x = ops.cast(x, layer.compute_dtype)
    if layer.data_format == "channels_first":
        x = ops.moveaxis(x, 1, -1)  # (B, *positions, C)
    batch, *sizes = (int(n) for n in x.shape[:-1])
    if len(position) != len(sizes) or not all(
        0 <= k < size for k, size in zip(position, sizes, strict=True)
    ):
        raise ValueError(f"position must lie in {tuple(sizes)}; received {tuple(position)}")

    theta, phi, _ = embeddings(spec, weights, x)  # (B P, N', D), (B P, M', D): P parts of an item
    numbers = np.arange(prod(sizes)).reshape(1, *sizes, 1)
    folded = fold(spec, numbers).reshape(-1, theta.shape[1])  # (P, N')
    parts, number = len(folded), np.ravel_multi_index(tuple(position), sizes)
    ((part, index),) = np.argwhere(folded == number)  # of i
    rows, keys = theta[part::parts, index : index + 1], phi[part::parts]  # (B, 1, D), (B, M', D)
    seen = ops.convert_to_numpy(pair_weights(spec, rows, keys))[:, 0]  # (B, M')

    pooled = [size // window for size, window in zip(sizes, spec.pool, strict=True)]
    found = np.zeros((batch, parts, seen.shape[1]), seen.dtype)
    found[:, part] = seen
    return unfold(spec, found, (batch, *pooled, 1)).reshape(batch, *pooled)


def top_responses(
    layer: NonLocalBlock, x: Any, position: Sequence[int], k: int = 20
) -> TopResponses:
    """The k largest w_ij of the position i, and the positions of their j. See `responses`.

    Both are NumPy arrays, which `nlcore.video.figure.draw_responses` draws. Of equal weights the
    first position in row-major order comes first.

    Raises
    ------
    ValueError
        k is not between 1 and the number of positions j, or as `responses`.
    """
    weights = responses(layer, x, position)
    batch, *pooled = weights.shape
    count = prod(pooled)
    if not 1 <= k <= count:
        raise ValueError(f"k must be from 1 to {count}, the positions j; received {k}")
    flat = weights.reshape(batch, count)
    places = np.argsort(-flat, axis=1, kind="stable")[:, :k]  # (B, k)
    axes = np.stack(np.unravel_index(places, pooled), axis=-1)  # (B, k, ndim)
    assert layer.spec is not None
    return TopResponses(np.take_along_axis(flat, places, axis=1), axes * layer.spec.pool)
