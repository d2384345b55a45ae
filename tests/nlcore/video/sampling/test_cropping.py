"""Which part of a frame is seen, in each dialect."""

from __future__ import annotations

import pytest
from given_draw import Given

from nlcore.video.draws import Draw
from nlcore.video.sampling import CLIP_DIALECTS, View, dialect

EVERY = list(CLIP_DIALECTS)


def training_view(name, height=256, width=340, crop=224, jitter=(256, 256), **choices):
    draw = Given({"jitter": 0 if name.startswith("slowfast") else 256, **choices})
    return dialect(name).training_view(height, width, jitter, crop, draw), draw.asked


def offsets(name, height, width, crop=256, short_side=256):
    views = [dialect(name).test_view(height, width, short_side, crop, k, 3) for k in range(3)]
    assert all((v.height, v.width) == v.output == (crop, crop) for v in views)
    return [(v.top, v.left) for v in views]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("height, width", [(240, 320), (320, 240), (1080, 1920), (300, 300)])
def test_crops_are_inside(name, height, width):
    """VC-4.1"""
    known = dialect(name)
    jitter = (256, 256) if name == "mmaction2" else (256, 320)
    views = [known.training_view(height, width, jitter, 224, Draw(1, n, 0)) for n in range(40)]
    views += [known.test_view(height, width, 256, 224)]
    views += [known.test_view(height, width, 256)]
    views += [known.test_view(height, width, 256, 256, k, 3) for k in range(3)]
    for view in views:
        assert 0 <= view.top <= view.size[0] - view.height
        assert 0 <= view.left <= view.size[1] - view.width


@pytest.mark.parametrize("name", EVERY)
def test_a_crop_above_the_frame(name):
    """VC-4.1"""
    above = 258 if name == "caffe2" else 257
    with pytest.raises(ValueError, match=f"crop must have at most 256 pixels.* received {above}"):
        dialect(name).test_view(300, 300, 256, above)
    if name != "mmaction2":  # its crops are parts of the shorter side
        with pytest.raises(ValueError, match="crop must have at most 256 pixels"):
            training_view(name, crop=above)


def test_mmaction2_crops_no_more_than_there_is():
    """VC-4.1"""
    with pytest.raises(ValueError, match=r"at most 256 pixels, .* received 258"):
        training_view("mmaction2", crop=258)  # within 2 of the shorter side


def test_a_row_that_caffe2_cut_off():
    """VC-4.1"""
    view = dialect("caffe2").test_view(242, 320, 256, 256, 0, 3)
    assert view.size == (255, 338) and (view.top, view.height) == (0, 256)
    view, asked = training_view("caffe2", height=242, width=320, crop=256)
    assert asked["top"] == (0, 0) and view.height == 256


@pytest.mark.parametrize("name", ["paper", "caffe2", "pytorchvideo"])
def test_every_offset(name):
    """VC-4.2"""
    view, asked = training_view(name, top=32, left=116)
    assert (asked["top"], asked["left"]) == ((0, 32), (0, 116))
    assert view == View((256, 340), 32, 116, 224, 224, (224, 224))


@pytest.mark.parametrize("name", ["slowfast", "slowfast_charades"])
def test_slowfast_leaves_the_last_offset_out(name):
    """VC-4.3"""
    view, asked = training_view(name, top=31, left=115)
    assert (asked["top"], asked["left"]) == ((0, 31), (0, 115))
    assert (view.top, view.left) == (31, 115)
    assert training_view(name, crop=256)[1]["top"] == (0, 0)


@pytest.mark.parametrize(
    "scale, place, expected",
    [
        (0, 0, (0, 0, 256)),
        (0, 1, (0, 84, 256)),  # 340 - 256 is 4 * 21
        (0, 2, (0, 0, 256)),
        (0, 4, (0, 42, 256)),
        (1, 1, (0, 136, 204)),  # 340 - 204 is 4 * 34
        (1, 2, (52, 0, 204)),  # 256 - 204 is 4 * 13
        (1, 3, (52, 136, 204)),
        (1, 4, (26, 68, 204)),
    ],
)
def test_two_scales_at_five_places(scale, place, expected):
    """VC-4.4"""
    view, asked = training_view("mmaction2", scale=scale, place=place)
    assert (view.top, view.left, view.height) == expected
    assert view.width == view.height and view.output == (224, 224)
    assert asked == {"scale": (0, 1), "place": (0, 4), "flip": None}


@pytest.mark.parametrize("crop, side", [(202, 202), (206, 206), (201, 204), (207, 204)])
def test_a_side_that_nearly_fits(crop, side):
    """VC-4.4"""
    assert training_view("mmaction2", crop=crop, scale=1)[0].height == side


@pytest.mark.parametrize("name", EVERY)
def test_flips(name):
    """VC-4.5"""
    assert training_view(name, flip=True)[0].flip
    assert not training_view(name, flip=False)[0].flip
    assert not any(dialect(name).test_view(256, 340, 256, 256, k, 3).flip for k in range(3))


@pytest.mark.parametrize("name", ["paper", "caffe2"])
def test_three_crops_of_caffe2(name):
    """VC-4.6"""
    assert offsets(name, 256, 341) == [(0, 0), (0, 42), (0, 84)]  # of 85
    assert offsets(name, 341, 256) == [(0, 0), (42, 0), (84, 0)]
    assert offsets(name, 256, 256) == [(0, 0)] * 3
    # a resized frame that is larger than the crop both ways is cut along its height
    assert offsets(name, 256, 340, crop=224) == [(0, 58), (16, 58), (32, 58)]


@pytest.mark.parametrize("name", ["slowfast", "slowfast_charades", "pytorchvideo"])
def test_three_crops_of_slowfast(name):
    """VC-4.7"""
    assert offsets(name, 256, 341) == [(0, 0), (0, 43), (0, 85)]
    assert offsets(name, 341, 256) == [(0, 0), (43, 0), (85, 0)]
    assert offsets(name, 256, 340, crop=225) == [(16, 0), (16, 58), (16, 115)]


def test_three_crops_of_mmaction2():
    """VC-4.8"""
    assert offsets("mmaction2", 256, 341) == [(0, 0), (0, 84), (0, 42)]
    assert offsets("mmaction2", 341, 256) == [(0, 0), (84, 0), (42, 0)]
    with pytest.raises(ValueError, match=r"three crops .* \(256, 341\); received 224"):
        offsets("mmaction2", 256, 341, crop=224)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("paper", (15, 57)),
        ("caffe2", (15, 57)),
        ("slowfast", (16, 58)),
        ("slowfast_charades", (16, 58)),
        ("mmaction2", (15, 57)),
        ("pytorchvideo", (16, 58)),
    ],
)
def test_centres(name, expected):
    """VC-4.9"""
    view = dialect(name).test_view(256, 340, 256, 225)  # of 31 and 115
    assert (view.top, view.left, view.height, view.width) == (*expected, 225, 225)


def test_centre_of_pytorchvideo_is_even():
    """VC-4.9"""
    view = dialect("pytorchvideo").test_view(256, 341, 256, 256)  # of 85
    assert view.left == 42
    assert dialect("pytorchvideo").test_view(256, 343, 256, 256).left == 44  # of 87


@pytest.mark.parametrize("name", EVERY)
def test_whole_frames(name):
    """VC-4.10"""
    view = dialect(name).test_view(256, 340, 256)
    assert view == View((256, 340), 0, 0, 256, 340, (256, 340))
    wide = dialect(name).test_view(256, 455, 256)
    expected = (0, 23, 256, 409) if name == "caffe2" else (0, 0, 256, 455)
    assert (wide.top, wide.left, wide.height, wide.width) == expected
    assert wide.output == expected[2:]
    tall = dialect(name).test_view(455, 256, 256)
    expected = (23, 0, 409, 256) if name == "caffe2" else (0, 0, 455, 256)
    assert (tall.top, tall.left, tall.height, tall.width) == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"crops": 2}, "crops must be 1 or 3, and index below it; received 2 and 0"),
        ({"index": 3, "crops": 3}, "received 3 and 3"),
        ({"crop": None, "crops": 3}, "the whole frame is one view; received crops=3"),
    ],
)
def test_views_that_there_are_not(change, message):
    """VC-4.10"""
    good = {"height": 256, "width": 340, "short_side": 256, "crop": 256, "index": 0, "crops": 1}
    with pytest.raises(ValueError, match=message):
        dialect("slowfast").test_view(**good | change)
