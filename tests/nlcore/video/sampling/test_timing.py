"""Which frames a clip has, in each dialect."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from given_draw import Given

from nlcore.video.draws import Draw
from nlcore.video.sampling import CLIP_DIALECTS, dialect
from nlcore.video.sampling.timing import SpreadInSeconds, Video, linspace

#: A clip of the paper: 32 frames, every second one.
CLIP = 32, 2


def starts(name, count, fps=30, clip=CLIP, views=10):
    return [dialect(name).test_start(count, fps, *clip, view, views) for view in range(views)]


@pytest.mark.parametrize("name", CLIP_DIALECTS)
@pytest.mark.parametrize("count", [1, 2, 31, 63, 64, 65, 300])
@pytest.mark.parametrize("fps", [15, Fraction(30000, 1001), 30, 60])
def test_frames_are_in_the_video(name, count, fps):
    """VC-2.1"""
    clips = [dialect(name).training_clip(count, fps, *CLIP, Draw(0, n, 0)) for n in range(20)]
    clips += [dialect(name).test_clip(count, fps, *CLIP, view, 10) for view in range(10)]
    for clip in clips:
        assert clip.shape == (32,) and clip.dtype == np.int64
        assert clip.min() >= 0 and clip.max() < count


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 0}, "count must be an integer of at least 1; received 0"),
        ({"frames": 0}, "frames must be an integer of at least 1; received 0"),
        ({"stride": 1.5}, "stride must be an integer of at least 1; received 1.5"),
        ({"fps": 0}, "fps must be above 0; received 0"),
        ({"view": 10}, "view must be at least 0 and below 10; received 10"),
        ({"view": -1}, "view must be at least 0 and below 10; received -1"),
    ],
)
def test_numbers_out_of_range(change, message):
    """VC-2.1"""
    good = {"count": 300, "fps": 30, "frames": 32, "stride": 2, "view": 0, "views": 10}
    with pytest.raises(ValueError, match=message):
        dialect("caffe2").test_clip(**good | change)


@pytest.mark.parametrize("name", ["paper", "caffe2", "mmaction2"])
def test_strided_clips(name):
    """VC-2.2"""
    draw = Given({"start": 236})
    clip = dialect(name).training_clip(300, 25, *CLIP, draw)
    assert draw.asked == {"start": (0, 236)}  # 64 consecutive frames
    assert clip.tolist() == list(range(236, 300, 2))


@pytest.mark.parametrize("name", ["paper", "caffe2", "mmaction2"])
def test_short_videos_begin_again(name):
    """VC-2.2"""
    draw = Given()
    clip = dialect(name).training_clip(10, 30, 8, 3, draw)
    assert draw.asked == {"start": (0, 0)}
    assert clip.tolist() == [0, 3, 6, 9, 2, 5, 8, 1]


@pytest.mark.parametrize("name", ["paper", "caffe2"])
def test_test_clips_of_caffe2(name):
    """VC-2.3"""
    assert starts(name, 300) == [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]
    last = dialect(name).test_clip(300, 30, *CLIP, 9, 10)
    assert last.tolist() == [*range(270, 300, 2), *range(0, 34, 2)]  # it goes on at the beginning
    assert starts(name, 7, views=3) == [0, 2, 4]
    # 126 / 30 is a little below 4.2 in float32, and 15 times that below 63
    assert starts(name, 126, views=30)[14:17] == [58, 62, 67]


def test_test_clips_of_mmaction2():
    """VC-2.4"""
    assert starts("mmaction2", 300) == [0, 26, 53, 79, 105, 132, 158, 184, 211, 237]
    assert dialect("mmaction2").test_clip(300, 30, *CLIP, 9, 10)[-1] == 299
    assert starts("mmaction2", 300, views=1) == [118]
    assert starts("mmaction2", 68, views=3) == [0, 2, 5]  # 2.5 to the even
    assert starts("mmaction2", 50) == [0] * 10
    assert starts("mmaction2", 100, clip=(1, 1), views=4) == [12, 37, 62, 87]


def test_clips_of_slowfast():
    """VC-2.5"""
    expected = [0, 23.6, 47.2, 70.8, 94.4, 118.0, 141.6, 165.2, 188.8, 212.4]
    assert starts("slowfast", 300) == pytest.approx(expected, rel=1e-15)
    assert starts("slowfast", 300, fps=60)[9] == pytest.approx(0.9 * (300 - 128), rel=1e-15)
    assert starts("slowfast", 10, fps=1, clip=(8, 1))[9] == 0.9 * 9  # a clip covers a frame
    draw = Given({"start": 0.5})
    assert dialect("slowfast").timing.training_start(Video(300, 30, *CLIP), draw) == 118.0


def test_frames_of_slowfast():
    """VC-2.6"""
    clip = dialect("slowfast").test_clip(300, 30, *CLIP, 0, 10)
    gaps = np.diff(clip)
    assert clip[0] == 0 and clip[-1] == 63
    assert sorted(gaps.tolist()) == [2] * 30 + [3]
    assert np.diff(dialect("slowfast").test_clip(300, 30, 8, 8, 0, 10)).tolist() == [9] * 7


def test_short_videos_of_slowfast_end_with_their_last_frame():
    """VC-2.6"""
    clip = dialect("slowfast").training_clip(40, 30, *CLIP, Given({"start": 0.9}))
    assert clip.tolist()[:3] == [0, 2, 4] and clip.tolist()[-12:] == [39] * 12


def test_fps_of_slowfast():
    """VC-2.6"""
    clip = dialect("slowfast").test_clip(300, 60, *CLIP, 0, 10)
    assert clip[-1] == 127 and set(np.diff(clip).tolist()) == {4, 5}
    slow = dialect("slowfast").test_clip(300, 10, *CLIP, 0, 10)  # 21.3 frames for 32
    assert slow[-1] == 20 and set(np.diff(slow).tolist()) == {0, 1}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 32, 64])
@pytest.mark.parametrize("start, end", [(0, 63), (3.7, 66.7), (100.25, 163.186), (5, 5)])
def test_linspace(start, end, steps):
    """VC-2.7"""
    first, last = (Fraction(float(np.float32(value))) for value in (start, end))
    step = np.float32(np.float32(end) - np.float32(start)) / np.float32(max(steps - 1, 1))
    step = Fraction(float(step))
    half = max(steps // 2, 1)
    exact = [first + k * step if k < half else last - (steps - 1 - k) * step for k in range(steps)]
    # one rounding each
    found = linspace(start, end, steps)
    assert found.dtype == np.float32
    assert found.tolist() == [float(np.float32(float(value))) for value in exact]


def test_linspace_is_that_of_torch():
    """VC-2.7"""
    torch = pytest.importorskip("torch")
    for start in np.linspace(0, 500, 97):
        for steps in (1, 2, 8, 16, 32, 64):
            found = linspace(start, start + 63, steps)
            # a torch without fused multiply-adds rounds the product too
            unit = np.spacing(np.float32(start + 63))
            np.testing.assert_allclose(
                found, torch.linspace(start, start + 63, steps).numpy(), rtol=0, atol=unit
            )


def test_clips_of_pytorchvideo():
    """VC-2.8"""
    expected = [0, 26.2, 52.4, 78.7, 104.9, 131.1, 157.3, 183.6, 209.8, 236.0]
    assert [float(s) for s in starts("pytorchvideo", 300)] == pytest.approx(expected, abs=0.05)
    assert starts("pytorchvideo", 300, views=1) == [0]
    draw = Given({"start": 0.5})
    start = dialect("pytorchvideo").timing.training_start(Video(300, 30, *CLIP), draw)
    assert float(start) == pytest.approx(118, rel=1e-15)


def test_seconds_of_the_trainer_of_pytorchvideo():
    """VC-2.8"""
    timing = SpreadInSeconds(Fraction(2.13))
    video = Video(300, 30, 8, 8)
    assert float(timing.test_start(video, 9, 10)) == pytest.approx(236.1, rel=1e-12)
    shown = [np.ptp(timing.indices(video, timing.test_start(video, v, 10))) + 1 for v in range(10)]
    assert set(shown) == {63, 64}  # 63.9 frames


def test_frames_of_pytorchvideo():
    """VC-2.9"""
    clip = dialect("pytorchvideo").test_clip(300, 30, *CLIP, 1, 10)  # starts at 26.2
    assert clip[0] == 27 and clip[-1] == 90
    assert sorted(np.diff(clip).tolist()) == [2] * 30 + [3]
    ntsc = dialect("pytorchvideo").test_clip(300, Fraction(30000, 1001), *CLIP, 9, 10)
    assert ntsc[-1] == 299


def test_short_videos_of_pytorchvideo_repeat_frames():
    """VC-2.9"""
    clip = dialect("pytorchvideo").training_clip(10, 30, *CLIP, Given({"start": 0.9}))
    assert clip[0] == 0 and clip[-1] == 9 and set(np.diff(clip).tolist()) == {0, 1}
    with pytest.raises(
        ValueError, match=r"a clip must show a frame; received 0.0333 s at 1 frames"
    ):
        # between frames 2 and 3
        dialect("pytorchvideo").training_clip(10, 1, 1, 1, Given({"start": 0.25}))


def test_clips_of_slowfast_charades():
    """VC-2.10"""
    draw = Given({"start": 237})
    clip = dialect("slowfast_charades").training_clip(300, 24, *CLIP, draw)
    assert draw.asked == {"start": (0, 237)} and clip.tolist() == list(range(237, 300, 2))
    draw = Given({"start": -20})
    short = dialect("slowfast_charades").training_clip(20, 24, *CLIP, draw)
    assert draw.asked == {"start": (-43, 0)}
    assert short.tolist() == [0] * 11 + [2, 4, 6, 8, 10, 12, 14, 16, 18] + [19] * 12
    assert starts("slowfast_charades", 300) == starts("mmaction2", 300)
    assert starts("slowfast_charades", 300, views=1) == [0]
    assert dialect("slowfast_charades").test_clip(20, 24, *CLIP, 9, 10)[-1] == 19
