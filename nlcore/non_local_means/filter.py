"""Non-local means, the filter that the non-local operation descends from.

Source: Buades, Coll, Morel 2005, "A non-local algorithm for image denoising", CVPR,
doi 10.1109/CVPR.2005.38.
"""

from __future__ import annotations

from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np

from nlcore.non_local_means.tiles import Filter, tiles
from nlcore.reference.compiling import SMALL, run

PATCH_WEIGHTS = ("uniform", "gaussian")
#: Planes, rows, columns of a task: its scratch stays in a core's cache. Fixed, so that the bits
#: of the result do not depend on the number of threads.
TILE_2D, TILE_3D = (1, 32, 512), (8, 16, 64)


def nl_means(
    image: np.ndarray,
    *,
    patch_size: int = 7,
    patch_distance: int = 11,
    h: float = 0.1,
    sigma: float = 0.0,
    patch_weights: str = "uniform",
    channel_axis: int | None = None,
) -> np.ndarray:
    """out_p = sum_q w(p, q) image_q / sum_q w(p, q), over q within patch_distance on each axis.

        w(p, q) = exp(-max(d2(p, q) - 2 sigma^2, 0) / h^2)
        d2(p, q) = sum_o g(o) mean_c (image_{p+o,c} - image_{q+o,c})^2,    sum_o g(o) = 1

    o goes over the patch_size^n square or cube around 0. Only q inside the image count; patches
    that reach beyond the border see it mirrored (the border pixel itself not repeated).

    Parameters
    ----------
    image : float32 or float64 array, (H, W) or (D, H, W), and one more axis if channel_axis is set
        Any range of values. Computed in float64. NaN or infinity spoils the pixels that see it.
    patch_size : int, odd
        Width of a patch, in pixels. The cost grows as its logarithm (uniform) or as it (gaussian).
    patch_distance : int
        Largest |q - p| on each axis, in pixels; 0 gives the image back.
    h : float
        Scale of the distances, in the image's units.
    sigma : float
        Standard deviation of the noise in the image, in its units, taken off the distances.
    patch_weights : {"uniform", "gaussian"}
        g: constant, or exp(-|o|^2 / (2 a^2)) up to its sum, with a = (patch_size - 1) / 4 pixels.
    channel_axis : int, optional
        The axis of the channels; all channels of a pixel get one weight.

    Returns
    -------
    ndarray of the image's shape and dtype; the same bits whatever the number of threads.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as above; the message says what came.

    Notes
    -----
    scikit-image 0.26 approximates: its exp is off by -4 % to +2 %, and w is 0 where its exponent
    is below -5. `denoise_nl_means(fast_mode=False)` is "gaussian" but for that (it tests partial
    sums for -5, too); its float32 is computed as such, and its patch_size 1 gives NaN. With
    fast_mode=True, for "uniform", the patch is short of its first row, column and plane, its sum
    divided by patch_size^n all the same, and q goes on beyond the border, into the mirror image.
    Both take an even patch_size for the next odd one; here it is an error.
    """
    x, axis = _check_image(image, channel_axis)
    size = _check_int("patch_size", patch_size, 1)
    if size % 2 == 0:
        raise ValueError(f"patch_size must be odd (a patch has a centre pixel), got {size}")
    distance = _check_int("patch_distance", patch_distance, 0)
    # bounds that keep the squares inside float64
    h = _check_real("h", h, 1e-150)
    sigma = _check_real("sigma", sigma, 0.0)
    if patch_weights not in PATCH_WEIGHTS:
        raise ValueError(f"patch_weights must be one of {PATCH_WEIGHTS}, got {patch_weights!r}")

    y = x[None] if axis is None else np.moveaxis(x, axis, 0)  # (C, *positions)
    space = y.reshape(len(y), *(1,) * (4 - y.ndim), *y.shape[1:])  # (C, Z, Y, X), Z = 1 in 2-D
    volume = y.ndim == 4
    window, parts = _window(size, patch_weights, axes=y.ndim - 1)
    f = Filter(
        space.shape[1:],
        radius=(size // 2 if volume else 0, size // 2, size // 2),
        reach=(distance if volume else 0, distance, distance),
        window=window,
        uniform=patch_weights == "uniform",
        scale=1.0 / (len(y) * parts) / (h * h),
        offset=2.0 * (sigma / h) ** 2,
    )
    out = _filtered(space.astype(np.float64), f, TILE_3D if volume else TILE_2D).reshape(y.shape)
    out = out[0] if axis is None else np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(out, dtype=x.dtype)


def _window(size: int, patch_weights: str, axes: int) -> tuple[np.ndarray, float]:
    """Weights of a patch's pixels along one axis, and what the weights of a patch add up to."""
    if patch_weights == "uniform":
        return np.ones(size), float(size) ** axes
    o = np.arange(size) - size // 2
    window = np.exp(-2.0 * (o / max(size // 2, 1)) ** 2)  # a = (size // 2) / 2
    return window / window.sum(), 1.0


def _filtered(y: np.ndarray, f: Filter, least: tuple[int, int, int]) -> np.ndarray:
    """The weighted means of y (C, Z, Y, X), in tiles of at least so many pixels."""
    padded = np.pad(y, [(0, 0), *((r, r) for r in f.radius)], mode="reflect")
    # not much smaller than the reach: what a tile computes goes beyond it by the shift
    tile = np.maximum(least, f.reach)
    corners = [range(0, n, int(t)) for n, t in zip(f.size, tile, strict=True)]
    starts = np.array(list(product(*corners)))  # (tiles, 3)
    stops = np.minimum(starts + tile, f.size)
    image = padded.reshape(len(y), -1)  # (C, P)
    weight, total = np.zeros(image.shape[1]), np.zeros(image.shape)
    run(tiles, len(starts), SMALL, image, f, starts, stops, weight, total)  # none is small
    inside = tuple(slice(r, r + n) for r, n in zip(f.radius, f.size, strict=True))
    weight = weight.reshape(padded.shape[1:])[inside]  # (Z, Y, X)
    return total.reshape(padded.shape)[:, *inside] / weight


def _check_image(image: Any, channel_axis: int | None) -> tuple[np.ndarray, int | None]:
    """The image as an array, and channel_axis counted from 0."""
    x = np.asarray(image)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"image must be float32 or float64, got {x.dtype}: convert it, e.g. image / 255.0"
        )
    if 0 in x.shape:
        raise ValueError(f"image must have no axis of size 0, got shape {x.shape}")
    axes = x.ndim
    if channel_axis is not None:
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, Integral):
            raise TypeError(f"channel_axis must be an int or None, got {channel_axis!r}")
        if not -x.ndim <= channel_axis < x.ndim:
            raise ValueError(
                f"channel_axis must be in [{-x.ndim}, {x.ndim}) for shape {x.shape}, "
                f"got {channel_axis}"
            )
        channel_axis, axes = int(channel_axis) % x.ndim, x.ndim - 1
    if axes not in (2, 3):
        raise ValueError(
            "image must be (H, W) or (D, H, W), with one more axis if channel_axis is set, "
            f"got shape {x.shape} and channel_axis={channel_axis}"
        )
    return x, channel_axis


def _check_int(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def _check_real(name: str, value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not least <= number <= 1e150:
        raise ValueError(f"{name} must be between {least} and 1e150, got {value}")
    return number
