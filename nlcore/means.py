"""Non-local means, the filter that the non-local operation descends from.

For one shift q - p, the distances of all pairs of patches are window sums of one picture of
squared differences, taken along one axis after the other; and w(p, q) = w(q, p) serves both
pixels. Tiles of the image are independent tasks; each adds its shifts up in a fixed order.
Sources: Buades, Coll, Morel 2005, "A non-local algorithm for image denoising", CVPR,
doi 10.1109/CVPR.2005.38. Sums per shift: Darbon et al. 2008, "Fast nonlocal filtering applied to
electron cryomicroscopy", ISBI, doi 10.1109/ISBI.2008.4541250.
"""

from __future__ import annotations

from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic

from nlcore.compensated import fma

PATCH_WEIGHTS = ("uniform", "gaussian")
#: Planes, rows, columns of a task: its scratch stays in a core's cache. Fixed, so that the bits
#: of the result do not depend on the number of threads.
TILE_2D, TILE_3D = (1, 32, 512), (8, 16, 64)

LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17  # ln 2 - LN2
#: n + ROUNDER is rounded to an integer n, whose biased exponent n + 1023 is in the lowest bits.
ROUNDER = 1.5 * 2.0**52 + 1023.0


@intrinsic
def _power_of_two(typingctx: Any, t: Any) -> Any:
    """2^n of t = ROUNDER + n, |n| < 1023: the lowest bits of t moved to the exponent's place."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], context.get_value_type(types.int64))
        bits = builder.shl(bits, context.get_constant(types.int64, 52))
        return builder.bitcast(bits, context.get_value_type(types.float64))

    return types.float64(types.float64), codegen


@njit(inline="always")
def _exp_minus(x):
    """exp(-x) within 5e-16 of its value, x clipped to [0, 700]; NaN stays NaN.

    Without branches or calls, so that loops over it vectorise: exp(-x) = 2^n exp(r) with
    |r| <= ln(2)/2, and exp(r) by its Taylor series to r^12, whose rest is < 2.4e-16 exp(r).
    """
    x = 0.0 if x < 0.0 else x
    x = 700.0 if x > 700.0 else x
    t = fma(x, -LOG2E, ROUNDER)
    n = t - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2, -x))
    p = fma(r, 1 / 479001600, 1 / 39916800)
    p = fma(r, p, 1 / 3628800)
    p = fma(r, p, 1 / 362880)
    p = fma(r, p, 1 / 40320)
    p = fma(r, p, 1 / 5040)
    p = fma(r, p, 1 / 720)
    p = fma(r, p, 1 / 120)
    p = fma(r, p, 1 / 24)
    p = fma(r, p, 1 / 6)
    p = fma(r, p, 0.5)
    p = fma(r, p, 1.0)
    return fma(r, p, 1.0) * _power_of_two(t)  # type: ignore[call-arg]  # an intrinsic's context is numba's to give


@njit(cache=True)
def _weigh(d2, scale, offset):
    for k in range(d2.size):
        d2[k] = _exp_minus(fma(d2[k], scale, -offset))


@njit(cache=True)
def _squares(a, b, out):
    for k in range(out.size):
        out[k] = (a[k] - b[k]) ** 2


@njit(cache=True)
def _add_squares(a, b, out):
    for k in range(out.size):
        out[k] += (a[k] - b[k]) ** 2


@njit(cache=True)
def _add_weighted(w, value, weight, total):
    for k in range(total.size):
        weight[k] += w[k]
        total[k] = fma(w[k], value[k], total[k])


@njit(cache=True)
def _add_product(a, b, out):
    for k in range(out.size):
        out[k] = fma(a[k], b[k], out[k])


@njit(cache=True)
def _sum2(a, b, out):
    for k in range(out.size):
        out[k] = a[k] + b[k]


@njit(cache=True)
def _sum3(a, b, c, out):
    for k in range(out.size):
        out[k] = a[k] + b[k] + c[k]


@njit(cache=True)
def _scaled(g, a, out):
    for k in range(out.size):
        out[k] = g * a[k]


@njit(cache=True)
def _add_pair(g, a, b, out):
    for k in range(out.size):
        out[k] = fma(g, a[k] + b[k], out[k])


@njit(cache=True)
def _sums(x, y, z, count, stride, size):
    """x[k] + x[k + stride] + ... (size terms) for k < count; gives it and the two other buffers.

    From m terms to 2m or 2m + 1: log2(size) passes, and only additions, so that nothing cancels
    and a NaN is in no sum but its own.
    """
    m, source, target = 1, x, y
    bit = 1
    while 2 * bit <= size:
        bit *= 2
    while bit > 1:
        bit //= 2
        terms = 2 * m + (1 if size & bit else 0)
        n, a = count + (size - terms) * stride, m * stride
        if size & bit:
            _sum3(source[:n], source[a : a + n], x[2 * a : 2 * a + n], target[:n])
        else:
            _sum2(source[:n], source[a : a + n], target[:n])
        source, target = target, (z if m == 1 else source)
        m = terms
    return source, x, target


@njit(cache=True)
def _weighted_sums(x, y, count, stride, window):
    """y[k] = sum_m window[m] x[k + m stride] for k < count; the window is symmetric, odd."""
    radius = window.size // 2
    a = radius * stride
    _scaled(window[radius], x[a : a + count], y[:count])
    for m in range(radius):
        a, b = m * stride, (2 * radius - m) * stride
        _add_pair(window[m], x[a : a + count], x[b : b + count], y[:count])


@njit(cache=True)
def _span(start, stop, t, size):
    """The least interval of p, p and p + t in [0, size), with all where either is in the tile."""
    return max(start - max(t, 0), 0, -t), min(stop - min(t, 0), size, size - t)


@njit(cache=True)
def _tile(image, lines, start, stop, radius, reach, window, uniform, scale, offset, weight, total):
    """Adds sum_q w and sum_q w image_q to weight (P,) and total (C, P) in one tile.

    image is (C, P): padded, its positions in one row, P = planes * lines[0], lines[0] = rows *
    lines[1]. start, stop, reach are pixels on the axes z, y, x.
    """
    channels, (plane, line), (rz, ry, rx) = image.shape[0], lines, radius
    nz, ny, nx = image.shape[1] // plane - 2 * rz, plane // line - 2 * ry, line - 2 * rx
    dz, dy, dx = min(reach[0], nz - 1), min(reach[1], ny - 1), min(reach[2], nx - 1)
    room = stop[0] - start[0] + dz + 2 * rz
    room *= (stop[1] - start[1] + dy + 2 * ry) * (stop[2] - start[2] + dx + 2 * rx)
    a, b, c = np.empty(room), np.empty(room), np.empty(room)
    for tz in range(dz + 1):
        for ty in range(-dy if tz else 0, dy + 1):
            for tx in range(-dx if tz or ty else 0, dx + 1):
                z0, z1 = _span(start[0], stop[0], tz, nz)
                y0, y1 = _span(start[1], stop[1], ty, ny)
                x0, x1 = _span(start[2], stop[2], tx, nx)
                if z0 >= z1 or y0 >= y1 or x0 >= x1:
                    continue
                # the pixels p and the rims of their patches, line after line: (lz, ly, lx)
                lz, ly, lx = z1 - z0 + 2 * rz, y1 - y0 + 2 * ry, x1 - x0 + 2 * rx
                shift = tz * plane + ty * line + tx
                for j in range(lz * ly):
                    k, i = j * lx, (z0 + j // ly) * plane + (y0 + j % ly) * line + x0
                    q = i + shift
                    _squares(image[0, i : i + lx], image[0, q : q + lx], a[k : k + lx])
                    for m in range(1, channels):
                        _add_squares(image[m, i : i + lx], image[m, q : q + lx], a[k : k + lx])
                # count: the windows that end within the buffer; those across two lines go unused
                count = lz * ly * lx
                for axis in range(3):
                    if radius[axis] > 0:
                        stride = 1 if axis == 2 else lx if axis == 1 else lx * ly
                        count -= 2 * radius[axis] * stride
                        if uniform:
                            a, b, c = _sums(a, b, c, count, stride, window.size)
                        else:
                            _weighted_sums(a, b, count, stride, window)
                            a, b = b, a
                _weigh(a[:count], scale, offset)
                # q = p + t adds to p, then p to q, each in this tile only
                for role in range(2 if shift else 1):
                    ez, ey, ex = role * tz, role * ty, role * tx
                    x = max(start[2], x0 + ex)
                    n = min(stop[2], x1 + ex) - x
                    other = (1 - 2 * role) * shift
                    if n <= 0:
                        continue
                    for z in range(max(start[0], z0 + ez), min(stop[0], z1 + ez)):
                        for y in range(max(start[1], y0 + ey), min(stop[1], y1 + ey)):
                            k = ((z - ez - z0) * ly + y - ey - y0) * lx + x - ex - x0
                            i = (z + rz) * plane + (y + ry) * line + x + rx
                            q = i + other
                            w, ends = a[k : k + n], slice(i, i + n)
                            _add_weighted(w, image[0, q : q + n], weight[ends], total[0, ends])
                            for m in range(1, channels):
                                _add_product(w, image[m, q : q + n], total[m, ends])


@njit(parallel=True, cache=True)
def _all_tiles(image, lines, starts, stops, radius, reach, window, uniform, scale, offset):
    """weight (P,), total (C, P), see _tile; starts and stops (tiles, 3)."""
    weight, total = np.zeros(image.shape[1]), np.zeros(image.shape)
    for i in prange(starts.shape[0]):
        _tile(
            image, lines, starts[i], stops[i], radius, reach, window, uniform, scale, offset,
            weight, total,
        )  # fmt: skip
    return weight, total


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
    shape = y.shape
    y = y.reshape(shape[0], *(1,) * (4 - y.ndim), *shape[1:])  # (C, Z, Y, X), Z = 1 in 2-D
    moves = np.array([len(shape) == 4, 1, 1])  # axes along which patches extend
    radius, reach = moves * (size // 2), moves * distance
    window, parts = np.ones(size), float(size) ** (len(shape) - 1)
    if patch_weights == "gaussian":
        o = np.arange(size) - size // 2
        window = np.exp(-2.0 * (o / max(size // 2, 1)) ** 2)  # a = (size // 2) / 2
        window, parts = window / window.sum(), 1.0
    rim = [(0, 0), *((int(r), int(r)) for r in radius)]
    padded = np.pad(y.astype(np.float64), rim, mode="reflect")
    # not much smaller than the reach: what a tile computes goes beyond it by the shift
    tile = np.maximum(TILE_2D if len(shape) == 3 else TILE_3D, reach)
    corners = [range(0, n, int(t)) for n, t in zip(y.shape[1:], tile, strict=True)]
    starts = np.array(list(product(*corners)))  # (tiles, 3)
    weight, total = _all_tiles(
        padded.reshape(len(y), -1),
        (padded.shape[2] * padded.shape[3], padded.shape[3]),
        starts,
        np.minimum(starts + tile, y.shape[1:]),
        radius,
        reach,
        window,
        patch_weights == "uniform",
        1.0 / (len(y) * parts) / (h * h),
        2.0 * (sigma / h) ** 2,
    )
    inside = tuple(slice(r, r + n) for r, n in zip(radius, y.shape[1:], strict=True))
    weight = weight.reshape(padded.shape[1:])[inside]  # (Z, Y, X)
    out = (total.reshape(padded.shape)[:, *inside] / weight).reshape(shape)
    out = out[0] if axis is None else np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(out, dtype=x.dtype)


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
