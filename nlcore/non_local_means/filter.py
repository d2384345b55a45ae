"""Non-local means, the image filter that the non-local operation is based on.

Source: Buades, Coll, Morel 2005, "A non-local algorithm for image denoising", CVPR,
doi 10.1109/CVPR.2005.38.
"""

from __future__ import annotations

from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np

from nlcore.non_local_means.shifts import Filter, tiles
from nlcore.reference.parallel import SMALL, run

PATCH_WEIGHTS = ("uniform", "gaussian")
#: Planes, rows and columns of a tile, the unit of work of a thread. Its scratch arrays fit into the
#: cache of a core. The size is fixed, so that the result is the same for any number of threads.
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

    p and q are pixels, c is a channel, and o runs over a square (or cube) of patch_size pixels per
    axis, centred at 0. The sum over q includes only pixels inside the image. Patches that extend
    beyond the border contain the mirrored image, where the border pixel itself is not repeated.

    Parameters
    ----------
    image : (H, W) or (D, H, W), and one more axis if channel_axis is set
        float32 or float64, with any range of values. The filter computes in float64. A NaN or an
        infinity spreads to all pixels that depend on it.
    patch_size : int
        Width of a patch in pixels, odd. The cost grows with its logarithm for "uniform" patch
        weights, and linearly with it for "gaussian" ones.
    patch_distance : int
        Largest |q - p| on each axis, in pixels. 0 returns the image unchanged.
    h : float
        Scale of the distances, in the units of the image.
    sigma : float
        Standard deviation of the noise, in the units of the image. The distances are reduced by
        what this noise adds to them.
    patch_weights : {"uniform", "gaussian"}
        g: constant, or proportional to exp(-|o|^2 / (2 a^2)) with a = (patch_size - 1) / 4 pixels.
    channel_axis : int, optional
        The axis of the channels. All channels of a pixel have the same weight w.

    Returns
    -------
    ndarray
        Shape and dtype of the image. The result is the same, bit for bit, for any number of
        threads.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type or value.

    Notes
    -----
    scikit-image 0.26 differs from these formulas. The relative error of its exp is -4 % to +2 %,
    and its w is 0 if the exponent is below -5.

    Its `denoise_nl_means(fast_mode=False)` corresponds to "gaussian". It also compares partial sums
    with -5, it computes float32 images in float32, and patch_size 1 gives NaN.

    Its fast_mode=True corresponds to "uniform". Its patch lacks the first row, column and plane,
    but the sum is still divided by patch_size^n, where n is the number of position axes. Its q also
    runs over the mirrored image beyond the border.

    Both modes replace an even patch_size by the next odd one. Here it is an error.

    Examples
    --------
    >>> image = np.array([[0.0, 0.1, 1.0, 1.1]] * 4)
    >>> nl_means(image, patch_size=1, patch_distance=3)[0].round(2)  # the edge remains
    array([0.03, 0.07, 1.03, 1.07])
    """
    x, axis = _check_image(image, channel_axis)
    size = _check_int("patch_size", patch_size, 1)
    if size % 2 == 0:
        raise ValueError(f"patch_size must be odd (a patch has a centre pixel); received {size}")
    distance = _check_int("patch_distance", patch_distance, 0)
    # lower and upper bounds of h and sigma, whose squares must not underflow or overflow float64
    h = _check_real("h", h, 1e-150)
    sigma = _check_real("sigma", sigma, 0.0)
    if patch_weights not in PATCH_WEIGHTS:
        raise ValueError(
            f"patch_weights must be one of {PATCH_WEIGHTS}; received {patch_weights!r}"
        )

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
    """The patch weights along one axis (size,), and the sum of all weights of a patch."""
    if patch_weights == "uniform":
        return np.ones(size), float(size) ** axes
    o = np.arange(size) - size // 2
    window = np.exp(-2.0 * (o / max(size // 2, 1)) ** 2)  # with a = (size // 2) / 2
    return window / window.sum(), 1.0


def _filtered(y: np.ndarray, f: Filter, least: tuple[int, int, int]) -> np.ndarray:
    """The weighted means of y (C, Z, Y, X), computed in tiles of at least `least` pixels."""
    padded = np.pad(y, [(0, 0), *((r, r) for r in f.radius)], mode="reflect")
    # A tile also computes weights of pixels beyond its edges, up to the reach. Tiles much smaller
    # than the reach would therefore compute many weights more than once.
    tile = np.maximum(least, f.reach)
    corners = [range(0, n, int(t)) for n, t in zip(f.size, tile, strict=True)]
    starts = np.array(list(product(*corners)))  # (tiles, 3)
    stops = np.minimum(starts + tile, f.size)
    image = padded.reshape(len(y), -1)  # (C, P)
    weight, total = np.zeros(image.shape[1]), np.zeros(image.shape)
    # work=SMALL makes run use threads: every tile is enough work for one
    run(tiles, len(starts), SMALL, image, f, starts, stops, weight, total)
    inside = tuple(slice(r, r + n) for r, n in zip(f.radius, f.size, strict=True))
    weight = weight.reshape(padded.shape[1:])[inside]  # (Z, Y, X)
    return total.reshape(padded.shape)[:, *inside] / weight


def _check_image(image: Any, channel_axis: int | None) -> tuple[np.ndarray, int | None]:
    """Return the image as an array, and channel_axis as an index >= 0 or None."""
    x = np.asarray(image)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"image must be float32 or float64 (convert it, e.g. image / 255.0); received {x.dtype}"
        )
    if 0 in x.shape:
        raise ValueError(f"image must have no axis of size 0; received shape {x.shape}")
    axes = x.ndim
    if channel_axis is not None:
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, Integral):
            raise TypeError(f"channel_axis must be an int or None; received {channel_axis!r}")
        if not -x.ndim <= channel_axis < x.ndim:
            raise ValueError(
                f"channel_axis must be in [{-x.ndim}, {x.ndim}) for shape {x.shape}; "
                f"received {channel_axis}"
            )
        channel_axis, axes = int(channel_axis) % x.ndim, x.ndim - 1
    if axes not in (2, 3):
        raise ValueError(
            "image must be (H, W) or (D, H, W), with one more axis if channel_axis is set; "
            f"received shape {x.shape} and channel_axis={channel_axis}"
        )
    return x, channel_axis


def _check_int(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int; received {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; received {value}")
    return int(value)


def _check_real(name: str, value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; received {value!r}")
    number = float(value)
    if not least <= number <= 1e150:
        raise ValueError(f"{name} must be between {least} and 1e150; received {value}")
    return number
