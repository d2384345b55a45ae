"""To which size frames are resized, in each dialect."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from given_draw import Given

from nlcore.video.draws import Draw
from nlcore.video.sampling import CLIP_DIALECTS, dialect, scaling

SIZES = [(240, 320), (256, 340), (340, 256), (360, 480), (720, 1280), (1080, 1920), (97, 97)]


def size(name, height, width, short):
    return dialect(name).test_view(height, width, short).size


@pytest.mark.parametrize("name", ["paper", "caffe2", "pytorchvideo"])
def test_every_short_side_is_equally_likely(name):
    """VC-3.1"""
    draw = Given({"jitter": 320})
    assert dialect(name).training_view(480, 640, (256, 320), 224, draw).size[0] == 320
    assert draw.asked["jitter"] == (256, 320)


@pytest.mark.parametrize(
    "u, short", [(0, 256), (0.0077, 256), (0.008, 257), (0.9921, 319), (0.9923, 320)]
)
def test_short_sides_of_slowfast_are_rounded(u, short):
    """VC-3.2"""
    draw = Given({"jitter": u})
    assert dialect("slowfast").training_view(480, 640, (256, 320), 224, draw).size[0] == short


def test_the_ends_are_half_as_likely():
    """VC-3.2"""
    ends = Counter(scaling.rounded(0, 4, Draw(0, n, 0)) for n in range(4000))
    # 500 at the ends and 1000 between; 5 standard deviations are 105 and 137
    assert abs(ends[0] - 500) < 105 and abs(ends[4] - 500) < 105
    assert all(abs(ends[n] - 1000) < 137 for n in (1, 2, 3))


@pytest.mark.parametrize("u, short", [(0, 320), (0.5, 284), (1 - 2.0**-53, 256)])
def test_inverse_short_sides(u, short):
    """VC-3.3"""
    draw = Given({"jitter": u})
    view = dialect("slowfast_charades").training_view(480, 640, (256, 320), 224, draw)
    assert view.size[0] == short  # 1 / 284.4 is half way


def test_mmaction2_draws_no_short_side():
    """VC-3.4"""
    draw = Given()
    assert dialect("mmaction2").training_view(480, 640, (256, 256), 224, draw).size == (256, 341)
    assert "jitter" not in draw.asked
    with pytest.raises(ValueError, match=r"one size twice, .* received \(256, 320\)"):
        dialect("mmaction2").training_view(480, 640, (256, 320), 224, draw)


def test_sizes_of_caffe2_are_cut():
    """VC-3.5"""
    less = [h for h in range(64, 1201) if size("caffe2", h, 2 * h, 256)[0] != 256]
    assert len(less) == 138 and {82, 107, 242} < set(less)
    assert {size("caffe2", h, 2 * h, 256)[0] for h in less} == {255}
    assert size("caffe2", 1080, 1920, 313) == (312, 556)
    assert size("caffe2", 1920, 1080, 313) == (556, 312)


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("short", [224, 256, 313])
def test_sizes_of_caffe2_in_fractions(height, width, short):
    """VC-3.5"""

    def float32(value):
        return Fraction(float(np.float32(float(value))))

    ratio = float32(Fraction(short, min(height, width)))
    expected = tuple(math.floor(float32(side * ratio)) for side in (height, width))
    assert size("caffe2", height, width, short) == expected


def test_sizes_of_the_paper():
    """VC-3.6"""
    for height in range(64, 1201):
        assert size("paper", height, 2 * height, 256)[0] == 256
        assert size("paper", 2 * height, height, 256)[1] == 256
        assert size("paper", height, height, 256) == (256, 256)
    assert size("paper", 242, 320, 256) == (256, size("caffe2", 242, 320, 256)[1]) == (256, 338)


@pytest.mark.parametrize("name", ["slowfast", "slowfast_charades", "pytorchvideo"])
@pytest.mark.parametrize(
    "height, width, expected",
    [
        (240, 320, (256, 341)),
        (320, 240, (341, 256)),
        (241, 241, (256, 256)),
        (1080, 1920, (256, 455)),
    ],
)
def test_longer_sides_are_floored(name, height, width, expected):
    """VC-3.7"""
    assert size(name, height, width, 256) == expected


def test_frames_that_have_the_size():
    """VC-3.7"""
    # 116 / 67 is a little below in float64, and 67 of it below 116
    assert size("slowfast", 67, 116, 67) == (67, 116)
    assert size("slowfast_charades", 116, 67, 67) == (116, 67)
    assert size("pytorchvideo", 67, 116, 67) == (67, 115)
    assert size("pytorchvideo", 116, 67, 67) == (115, 67)


def test_sizes_of_mmaction2_are_rounded():
    """VC-3.8"""
    assert size("mmaction2", 240, 320, 256) == (256, 341)
    assert size("mmaction2", 270, 480, 256) == (256, 455)
    assert size("mmaction2", 480, 271, 256) == (453, 256)  # 453.4
    assert size("mmaction2", 256, 341, 128) == (128, 171)  # 170.5
    assert all(size("mmaction2", h, h, s)[0] == s for s in (128, 256) for h in range(64, 1201))


@pytest.mark.parametrize("name", CLIP_DIALECTS)
@pytest.mark.parametrize("height, width", SIZES)
def test_the_aspect_ratio_is_kept(name, height, width):
    """VC-3.5 VC-3.6 VC-3.7 VC-3.8"""
    found = size(name, height, width, 256)
    for side, original in zip(found, (height, width), strict=True):
        assert abs(side - original * 256 / min(height, width)) <= 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"height": 0}, "height must be an integer of at least 1; received 0"),
        ({"jitter": (0, 9)}, "jitter must be an integer of at least 1; received 0"),
        ({"jitter": (320, 256)}, r"jitter must be lowest and highest; received \(320, 256\)"),
        ({"crop": 0}, "crop must be an integer of at least 1; received 0"),
    ],
)
def test_numbers_out_of_range(change, message):
    """VC-3.1"""
    good = {"height": 240, "width": 320, "jitter": (256, 320), "crop": 224, "draw": Given()}
    with pytest.raises(ValueError, match=message):
        dialect("caffe2").training_view(**good | change)
