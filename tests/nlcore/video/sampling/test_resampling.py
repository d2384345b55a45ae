"""Bilinear resizing has the bits of its definition, and those of OpenCV."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nlcore.video.sampling import View
from nlcore.video.sampling.cropping import whole
from nlcore.video.sampling.pixels import Values, view_pixels

#: Bytes as they are, and as float32 before they are resized.
BYTES = Values(mean=(0.0,) * 3, std=(1.0,) * 3)
FLOATS = Values(mean=(114.75,) * 3, std=(57.375,) * 3, resized_as="floats")

#: Height and width, before and after.
SIZES = [
    ((5, 7), (5, 7)),
    ((4, 6), (2, 3)),  # OpenCV has code of its own for the half
    ((4, 6), (8, 12)),
    ((5, 7), (11, 3)),
    ((1, 1), (3, 4)),
    ((9, 2), (1, 1)),
    ((2, 3), (13, 17)),
    ((37, 53), (24, 31)),
]


def frames_of(size, rng, count=2):
    return rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def f32(value):
    return Fraction(float(np.float32(float(value))))


def byte_axis(pixels, result):
    """Pixels and weights by exact fractions, float64 only where the definition has it."""
    out = []
    for i in range(result):
        place = f32((i + 0.5) * (pixels / result) - 0.5)
        first = math.floor(place)
        part = place - first
        weights = round(2048 * f32(1 - part)), round(2048 * part)  # half to even
        ends = [min(max(p, 0), pixels - 1) for p in (first, first + 1)]
        out.append((*ends, *weights))
    return out


def resized_bytes(frame, size):
    """One frame, one pixel at a time, in Python's integers."""
    out = np.empty((*size, 3), np.uint8)
    for y, (y0, y1, c, d) in enumerate(byte_axis(frame.shape[0], size[0])):
        for x, (x0, x1, a, b) in enumerate(byte_axis(frame.shape[1], size[1])):
            for k in range(3):
                r, s = (
                    (a * int(frame[y_, x0, k]) + b * int(frame[y_, x1, k])) >> 4 for y_ in (y0, y1)
                )
                out[y, x, k] = (((c * r) >> 16) + ((d * s) >> 16) + 2) >> 2
    return out


def float_axis(pixels, result):
    out = []
    scale = f32(Fraction(float(np.float32(pixels))) / Fraction(float(np.float32(result))))
    for i in range(result):
        place = max(f32((Fraction(i) + Fraction(1, 2)) * scale - Fraction(1, 2)), Fraction(0))
        first = math.floor(place)
        part = place - first
        out.append((first, min(first + 1, pixels - 1), f32(1 - part), part))
    return out


def resized_floats(frame, size):
    """One normalized frame (H, W, 3), one number at a time: every operation is rounded once."""

    def mix(x, y, a, b):
        return f32(f32(a * x) + f32(b * y))

    pixel = [[[Fraction(float(v)) for v in p] for p in row] for row in frame]
    out = np.empty((*size, 3), np.float32)
    for y, (y0, y1, c, d) in enumerate(float_axis(frame.shape[0], size[0])):
        for x, (x0, x1, a, b) in enumerate(float_axis(frame.shape[1], size[1])):
            for k in range(3):
                r, s = (mix(pixel[y_][x0][k], pixel[y_][x1][k], a, b) for y_ in (y0, y1))
                out[y, x, k] = float(mix(r, s, c, d))
    return out


@pytest.mark.parametrize("size, result", SIZES)
def test_bytes_by_the_definition(size, result, rng):
    """VC-5.2"""
    frames = frames_of(size, rng, 1)
    found = view_pixels(BYTES, frames, whole(result))
    assert np.array_equal(found[:, 0], np.moveaxis(resized_bytes(frames[0], result), 2, 0))


@pytest.mark.parametrize("size, result", SIZES)
def test_floats_by_the_definition(size, result, rng):
    """VC-5.3"""
    frames = frames_of(size, rng, 1)
    normalized = (frames[0] - np.float32(114.75)) / np.float32(57.375)
    found = view_pixels(FLOATS, frames, whole(result))
    assert np.array_equal(found[:, 0], np.moveaxis(resized_floats(normalized, result), 2, 0))


@pytest.mark.parametrize("values", [BYTES, FLOATS], ids=["bytes", "floats"])
def test_the_same_size_changes_nothing(values, rng):
    """VC-5.2 VC-5.3"""
    frames = frames_of((8, 9), rng)
    found = view_pixels(values, frames, whole((8, 9)))
    mean, std = np.float32(values.mean[0]), np.float32(values.std[0])
    assert np.array_equal(found, (np.moveaxis(frames, 3, 0) - mean) / std)


@pytest.mark.parametrize("values", [BYTES, FLOATS], ids=["bytes", "floats"])
@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_is_a_part_of_the_resized_frame(values, flip, rng):
    """VC-5.1"""
    frames = frames_of((40, 30), rng)
    every = view_pixels(values, frames, whole((31, 47)))
    part = view_pixels(values, frames, View((31, 47), 5, 9, 20, 30, (20, 30), flip))
    expected = every[:, :, 5:25, 9:39]
    assert np.array_equal(part, expected[..., ::-1] if flip else expected)


@pytest.mark.parametrize("values", [BYTES, FLOATS], ids=["bytes", "floats"])
def test_past_the_end_is_the_last_row(values, rng):
    """VC-4.1"""
    frames = frames_of((20, 20), rng)
    every = view_pixels(values, frames, whole((15, 16)))
    found = view_pixels(values, frames, View((15, 16), 0, 0, 16, 17, (16, 17)))
    assert np.array_equal(found, np.pad(every, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge"))


def test_bytes_are_those_of_opencv(rng):
    """VC-5.2"""
    cv2 = pytest.importorskip("cv2")
    sizes = [*SIZES, ((240, 320), (256, 341)), ((342, 512), (313, 468)), ((256, 340), (320, 425))]
    sizes += [tuple(map(tuple, rng.integers(1, 200, (2, 2)).tolist())) for _ in range(60)]
    for size, result in sizes:
        frame = frames_of(size, rng, 1)
        expected = cv2.resize(frame[0], result[::-1])
        found = view_pixels(BYTES, frame, whole(result))
        assert np.array_equal(found[:, 0], np.moveaxis(expected, 2, 0)), (size, result)


def test_floats_are_those_of_torch(rng):
    """VC-5.3

    Of the four products and two sums that make a number, each errs by u of it, here and there: 8 u
    of the largest value. A torch without fused multiply-adds has places that err by 2 u n more,
    where n is the number of pixels along the axis. A number changes by at most 2 m a pixel.
    """
    torch = pytest.importorskip("torch")
    u = 2.0**-24
    sizes = [*SIZES, ((240, 320), (256, 341)), ((342, 512), (313, 468))]
    for size, result in sizes:
        frames = frames_of(size, rng)
        normalized = (np.moveaxis(frames, 3, 0) - np.float32(114.75)) / np.float32(57.375)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(normalized), size=result, mode="bilinear", align_corners=False
        ).numpy()
        found = view_pixels(FLOATS, frames, whole(result))
        most = abs(normalized).max()
        bound = 8 * u * most + 2 * u * (size[0] + size[1]) * 2 * most
        assert abs(found - expected).max() <= bound, (size, result)
