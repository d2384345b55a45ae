"""Bilinear resizing, of bytes as OpenCV does it and of float32 as PyTorch does it.

Neither smooths before it samples. Both sample between the centres of pixels: pixel i of the result
is at (i + 0.5) n / m - 0.5 of the n pixels, where m is the number of pixels of the result.
"""

from __future__ import annotations

import numpy as np

from nlcore.reference.compiling import compiled

#: Bits of a weight of `resize_bytes`.
BITS = 11

#: First pixel, second pixel, and their weights, for each pixel of the result.
Weights = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def byte_weights(pixels: int, result: int) -> Weights:
    """The pixels and weights of `resize_bytes` along one axis, (result,) each.

    The place f is computed in float64 and rounded to float32. The weights are 2048 (1 - t) and
    2048 t, rounded half to even, where t = f - floor(f). Before the first pixel's centre and after
    the last one's, both pixels are the same.
    """
    place = ((np.arange(result) + 0.5) * (pixels / result) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    part = place - first.astype(np.float32)
    one = np.float32(1 << BITS)
    a, b = (np.rint(w * one).astype(np.int32) for w in (np.float32(1) - part, part))
    return np.clip(first, 0, pixels - 1), np.clip(first + 1, 0, pixels - 1), a, b


def float_weights(pixels: int, result: int) -> Weights:
    """The pixels and weights of `resize_floats` along one axis, (result,) each.

    The place f is computed from float32(pixels / result), rounded to float32 once, and at least 0.
    The weights are 1 - t and t in float32, where t = f - floor(f).
    """
    scale = np.float32(pixels) / np.float32(result)
    place = ((np.arange(result) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)
    place = np.maximum(place, np.float32(0))
    first = place.astype(np.int64)
    part = place - first.astype(np.float32)
    return first, np.minimum(first + 1, pixels - 1), np.float32(1) - part, part


@compiled
def resize_bytes(
    frames, table, row0, row1, row_a, row_b, column0, column1, column_a, column_b, flip, out
):
    """Resize (T, H, W, 3), uint8, and look its bytes up in a table (3, 256): (3, T, h, w).

    With weights a, b along the row and c, d along the column, and shifts that cut, a byte is

        r = (a x00 + b x01) >> 4,  s = (a x10 + b x11) >> 4
        ((c r >> 16) + (d s >> 16) + 2) >> 2
    """
    height, width = out.shape[2], out.shape[3]
    rows = np.empty((2, 3, width), np.int32)
    line = np.empty(width, np.uint8)
    for t in range(len(frames)):
        held = np.full(2, -1)  # the row of frames that each of `rows` was made of
        for y in range(height):
            if held[0] != row0[y] and held[1] == row0[y]:
                rows[0], held[0] = rows[1], held[1]
            for k, row in ((0, row0[y]), (1, row1[y])):
                if held[k] != row:
                    held[k] = row
                    for x in range(width):
                        to = width - 1 - x if flip else x
                        p, q = column0[x], column1[x]
                        a, b = column_a[x], column_b[x]
                        for c in range(3):
                            total = a * frames[t, row, p, c] + b * frames[t, row, q, c]
                            rows[k, c, to] = total >> 4
            a, b = row_a[y], row_b[y]
            for c in range(3):
                for x in range(width):  # int32 throughout, so that it is vectorised
                    total = np.int32(a * rows[0, c, x]) >> 16
                    total += np.int32(b * rows[1, c, x]) >> 16
                    line[x] = np.int32(total + 2) >> 2
                for x in range(width):
                    out[c, t, y, x] = table[c, line[x]]


@compiled
def resize_floats(
    frames, table, row0, row1, row_a, row_b, column0, column1, column_a, column_b, flip, out
):
    """Look bytes (T, H, W, 3) up in a table (3, 256), float32, and resize that: (3, T, h, w).

    First along the rows, then along the columns: a x + b y, each product and the sum rounded.
    """
    height, width = out.shape[2], out.shape[3]
    rows = np.empty((2, 3, width), np.float32)
    for t in range(len(frames)):
        held = np.full(2, -1)  # the row of frames that each of `rows` was made of
        for y in range(height):
            if held[0] != row0[y] and held[1] == row0[y]:
                rows[0], held[0] = rows[1], held[1]
            for k, row in ((0, row0[y]), (1, row1[y])):
                if held[k] != row:
                    held[k] = row
                    for x in range(width):
                        to = width - 1 - x if flip else x
                        p, q = column0[x], column1[x]
                        a, b = column_a[x], column_b[x]
                        for c in range(3):
                            first, second = frames[t, row, p, c], frames[t, row, q, c]
                            rows[k, c, to] = a * table[c, first] + b * table[c, second]
            a, b = row_a[y], row_b[y]
            for c in range(3):
                for x in range(width):
                    out[c, t, y, x] = a * rows[0, c, x] + b * rows[1, c, x]
