"""The numbers that a network gets, in each dialect."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nlcore.video.draws import Draw
from nlcore.video.sampling import CLIP_DIALECTS, View, dialect
from nlcore.video.sampling.cropping import whole
from nlcore.video.sampling.pixels import Values, view_pixels

EVERY = list(CLIP_DIALECTS)


def f32(value):
    return Fraction(float(np.float32(float(value))))


#: What each dialect makes of a byte of a channel, in fractions that are rounded as float32.
CAFFE2 = lambda x, c: f32(f32(x - f32(114.75)) * f32(1 / f32(57.375)))  # noqa: E731
SLOWFAST = lambda x, c: f32(f32(f32(Fraction(x, 255)) - f32(0.45)) / f32(0.225))  # noqa: E731
NUMBERS = {
    "paper": CAFFE2,
    "caffe2": CAFFE2,
    "slowfast": SLOWFAST,
    "slowfast_charades": SLOWFAST,
    "pytorchvideo": SLOWFAST,
    "mmaction2": lambda x, c: f32(
        f32(x - f32((123.675, 116.28, 103.53)[c])) / f32((58.395, 57.12, 57.375)[c])
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_values(name):
    """VC-5.4"""
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    frames = np.repeat(every, 3, axis=3)
    found = dialect(name).pixels(frames, whole((16, 16)))  # (3, 1, 16, 16)
    for c in range(3):
        expected = [float(NUMBERS[name](x, c)) for x in range(256)]
        assert found[c].ravel().tolist() == expected


def test_dialects_differ_in_the_last_bits():
    """VC-5.4"""
    tables = {name: dialect(name).values.table() for name in EVERY}
    assert np.array_equal(tables["slowfast"], tables["pytorchvideo"])
    assert not np.array_equal(tables["slowfast"], tables["caffe2"])
    # the quotients, the means and the difference err by u each; the mean is twice the deviation
    np.testing.assert_allclose(
        tables["slowfast"], tables["caffe2"], rtol=0, atol=8 * 2.0**-24 * 2.5
    )
    assert abs(tables["mmaction2"] - tables["caffe2"]).max() > 0.1


@pytest.mark.parametrize("name", EVERY)
def test_shape(name, rng):
    """VC-5.1"""
    frames = rng.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    jitter = (40, 40) if name == "mmaction2" else (40, 50)
    view = dialect(name).training_view(48, 64, jitter, 32, Draw(0, 0, 0))
    found = dialect(name).pixels(frames, view)
    assert found.shape == (3, 3, 32, 32) and found.dtype == np.float32
    assert found.flags.c_contiguous
    # frames do not see each other
    assert np.array_equal(found[:, 1:2], dialect(name).pixels(frames[1:2], view))
    # nor does their place in memory count
    backwards = np.ascontiguousarray(frames[:, ::-1])[:, ::-1]
    assert np.array_equal(found, dialect(name).pixels(backwards, view))


@pytest.mark.parametrize("name", EVERY)
def test_channels_stay_in_order(name):
    """VC-5.1"""
    red = np.zeros((1, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    found = dialect(name).pixels(red, whole((4, 4)))
    assert (found[0] > 2).all() and (found[1:] < -1.5).all()


@pytest.mark.parametrize("flip", [False, True])
def test_mmaction2_resizes_its_crop(flip, rng):
    """VC-5.5"""
    frames = rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    plain = Values(mean=(0.0,) * 3, std=(1.0,) * 3)
    crop = view_pixels(plain, frames, View((40, 53), 3, 5, 32, 32, (32, 32)))
    crop = np.moveaxis(crop, 0, 3).astype(np.uint8)  # bytes once more
    view = View((40, 53), 3, 5, 32, 32, (28, 28), flip)
    values = dialect("mmaction2").values
    expected = view_pixels(values, crop, View((28, 28), 0, 0, 28, 28, (28, 28)))
    found = view_pixels(values, frames, view)
    assert np.array_equal(found, expected[..., ::-1] if flip else expected)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
    ],
)
def test_frames_of_another_kind(frames):
    """VC-5.1"""
    with pytest.raises(ValueError, match=r"frames must be uint8 \(T, H, W, 3\); received"):
        dialect("paper").pixels(frames, whole((4, 4)))


def test_unknown_dialect():
    with pytest.raises(ValueError, match=r"dialect must be one of .* received 'c2'"):
        dialect("c2")
    assert all(dialect(name).name == name for name in CLIP_DIALECTS)
