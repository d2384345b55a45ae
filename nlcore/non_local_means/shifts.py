"""Kernels of non-local means that filter the image tile by tile, and each tile shift by shift.

For one shift q - p, the squared differences between the image and the shifted image form an array.
The distances of all patches are sums over windows of this array, computed one axis after the other
(Darbon et al. 2008, "Fast nonlocal filtering applied to electron cryomicroscopy", ISBI,
doi 10.1109/ISBI.2008.4541250). Since w(p, q) = w(q, p), a tile uses each weight for both pixels.
Tiles are independent of each other, and each adds its shifts in a fixed order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlcore.non_local_means.vectorized import (
    add_product,
    add_squares,
    add_weighted,
    squares,
    sums,
    weigh,
    weighted_sums,
)
from nlcore.reference.compiling import compiled


class Filter(NamedTuple):
    """Parameters of the filter, the same for every tile. Axes are z, y, x."""

    size: tuple[int, int, int]  # of the image, in pixels
    radius: tuple[int, int, int]  # of a patch, in pixels, by which the image is padded
    reach: tuple[int, int, int]  # the largest |q - p|, in pixels
    window: np.ndarray  # (patch_size,), the patch weights along one axis
    uniform: bool  # whether all entries of window are 1
    scale: float  # in w = exp(-max(scale d2 - offset, 0)), d2 being the sum weighted by window
    offset: float


class Box(NamedTuple):
    """A box of the image: the pixels [start, stop) along each axis."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]


@compiled
def tiles(start, stop, image, f, starts, stops, weight, total):
    """Add sum_q w to weight (P,) and sum_q w image_q to total (C, P), for the tiles start to stop.

    image (C, P) is the padded image with its P positions flattened. starts and stops (tiles, 3) are
    the corners of the tiles.
    """
    for n in range(start, stop):
        tile = Box(
            (starts[n, 0], starts[n, 1], starts[n, 2]), (stops[n, 0], stops[n, 1], stops[n, 2])
        )
        _tile(image, f, tile, weight, total)


@compiled
def _tile(image, f, tile, weight, total):
    """Add the sums of one tile to weight (P,) and total (C, P)."""
    dz = min(f.reach[0], f.size[0] - 1)
    dy = min(f.reach[1], f.size[1] - 1)
    dx = min(f.reach[2], f.size[2] - 1)
    room = 1  # pixels of the largest box, padded by the patch radius
    for axis, most in enumerate((dz, dy, dx)):
        room *= tile.stop[axis] - tile.start[axis] + most + 2 * f.radius[axis]
    scratch = np.empty((3, room))
    for tz in range(dz + 1):
        for ty in range(-dy if tz else 0, dy + 1):
            for tx in range(-dx if tz or ty else 0, dx + 1):
                _add_shift(image, f, tile, (tz, ty, tx), scratch, weight, total)


@compiled
def _add_shift(image, f, tile, shift, scratch, weight, total):
    """With q = p + shift, add the terms of q to p, then those of p to q, inside the tile only."""
    z0, z1 = _span(tile.start[0], tile.stop[0], shift[0], f.size[0])
    y0, y1 = _span(tile.start[1], tile.stop[1], shift[1], f.size[1])
    x0, x1 = _span(tile.start[2], tile.stop[2], shift[2], f.size[2])
    if z0 >= z1 or y0 >= y1 or x0 >= x1:
        return
    box = Box((z0, y0, x0), (z1, y1, x1))
    w = _weights(image, f, box, shift, scratch)
    _add(image, f, tile, box, (0, 0, 0), shift, w, weight, total)
    if shift[0] != 0 or shift[1] != 0 or shift[2] != 0:
        back = (-shift[0], -shift[1], -shift[2])
        _add(image, f, tile, box, shift, back, w, weight, total)


@compiled
def _span(start, stop, t, size):
    """The smallest interval with all p where p or p + t is in the tile, and both in [0, size)."""
    return max(start - max(t, 0), 0, -t), min(stop - min(t, 0), size, size - t)


@compiled
def _weights(image, f, box, shift, scratch):
    """w(p, p + shift) for the pixels p of the box, flattened with the lines of the padded box."""
    a, b, c = scratch[0], scratch[1], scratch[2]
    line = f.size[2] + 2 * f.radius[2]
    plane = (f.size[1] + 2 * f.radius[1]) * line
    # the box padded by the patch radius, flattened: (lz, ly, lx)
    lz = box.stop[0] - box.start[0] + 2 * f.radius[0]
    ly = box.stop[1] - box.start[1] + 2 * f.radius[1]
    lx = box.stop[2] - box.start[2] + 2 * f.radius[2]
    apart = shift[0] * plane + shift[1] * line + shift[2]
    for j in range(lz * ly):
        k = j * lx
        i = (box.start[0] + j // ly) * plane + (box.start[1] + j % ly) * line + box.start[2]
        q = i + apart
        squares(image[0, i : i + lx], image[0, q : q + lx], a[k : k + lx])
        for m in range(1, image.shape[0]):
            add_squares(image[m, i : i + lx], image[m, q : q + lx], a[k : k + lx])
    # count: number of windows that end within the buffer. Those across two lines are not used.
    count = lz * ly * lx
    for axis in range(3):
        if f.radius[axis] > 0:
            stride = 1 if axis == 2 else lx if axis == 1 else lx * ly
            count -= 2 * f.radius[axis] * stride
            if f.uniform:
                a, b, c = sums(a, b, c, count, stride, f.window.size)
            else:
                weighted_sums(a, b, count, stride, f.window)
                a, b = b, a
    weigh(a[:count], f.scale, f.offset)
    return a


@compiled
def _add(image, f, tile, box, moved, other, w, weight, total):
    """Add w(p) to weight, and w(p) times the image at r + other to total, at each r = p + moved.

    p are the pixels of the box with r in the tile.
    """
    line = f.size[2] + 2 * f.radius[2]
    plane = (f.size[1] + 2 * f.radius[1]) * line
    ly = box.stop[1] - box.start[1] + 2 * f.radius[1]
    lx = box.stop[2] - box.start[2] + 2 * f.radius[2]
    x = max(tile.start[2], box.start[2] + moved[2])
    n = min(tile.stop[2], box.stop[2] + moved[2]) - x
    apart = other[0] * plane + other[1] * line + other[2]
    if n <= 0:
        return
    z0 = max(tile.start[0], box.start[0] + moved[0])
    z1 = min(tile.stop[0], box.stop[0] + moved[0])
    y0 = max(tile.start[1], box.start[1] + moved[1])
    y1 = min(tile.stop[1], box.stop[1] + moved[1])
    for z in range(z0, z1):
        for y in range(y0, y1):
            k = (z - moved[0] - box.start[0]) * ly + y - moved[1] - box.start[1]
            k = k * lx + x - moved[2] - box.start[2]
            i = (z + f.radius[0]) * plane + (y + f.radius[1]) * line + x + f.radius[2]
            q = i + apart
            row = w[k : k + n]
            add_weighted(row, image[0, q : q + n], weight[i : i + n], total[0, i : i + n])
            for m in range(1, image.shape[0]):
                add_product(row, image[m, q : q + n], total[m, i : i + n])
