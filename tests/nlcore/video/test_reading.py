"""Clips of video files: which frames, turned, resized, cropped and normalized."""

import numpy as np
import pytest

from nlcore.video.reading import cropped, normalized, read_clip

av = pytest.importorskip("av", reason="reading videos needs nlcore[video]")

WIDE = (48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """24 frames of 48 x 64 at 10 a second, frame n of a grey of 10 n."""
    return written(tmp_path_factory.mktemp("video") / "grey.mkv")


def written(path, rotation=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        if rotation is not None and not hasattr(stream, "set_display_rotation"):
            pytest.skip("this version of PyAV cannot write a rotation")
        stream.height, stream.width = WIDE
        stream.pix_fmt = "bgr0"  # RGB without loss
        stream.options = {"g": "8"}  # a keyframe every 8
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for n in range(24):
            picture = np.full((*WIDE, 3), 10 * n, np.uint8)
            picture[:24, :32, 0] = 255  # a red upper left corner
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def greys(clip):
    return [int(frame[-1, -1, 1]) // 10 for frame in clip.frames]


@pytest.mark.parametrize(
    ("count", "every", "start", "numbers"),
    [
        (3, 1, 0.0, [0, 1, 2]),
        (4, 2, 0.5, [5, 7, 9, 11]),
        (2, 4, 1.9, [19, 23]),
        (2, 1, 1.85, [19, 20]),
    ],
)
def test_frames_of_a_clip(video, count, every, start, numbers):
    clip = read_clip(video, count, every, start, None)
    assert clip.frames.shape == (count, *WIDE, 3) and clip.frames.dtype == np.uint8
    assert greys(clip) == numbers
    assert clip.times == pytest.approx([n / 10 for n in numbers], abs=1e-3)  # Matroska's clock


def test_short_side(video):
    clip = read_clip(video, 1, 1, 0.0, 24)
    assert clip.frames.shape == (1, 24, 32, 3)


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_frames_are_turned(tmp_path, rotation, corner):
    clip = read_clip(written(tmp_path / "turned.mp4", rotation), 1, 1, 0.0, None)
    assert clip.frames.shape[1:3] == (WIDE if rotation == 180 else WIDE[::-1])
    assert clip.frames[0, *corner].tolist() == [255, 0, 0]


def test_the_middle_is_cropped_to_whole_positions():
    frames = np.broadcast_to(np.arange(100)[:, None], (1, 70, 100, 3))
    assert cropped(frames).shape == (1, 64, 96, 3)
    assert cropped(frames)[0, 0, [0, -1], 0].tolist() == [2, 97]
    assert cropped(frames, 64).shape == (1, 64, 64, 3)
    assert cropped(frames, 64)[0, 0, [0, -1], 0].tolist() == [18, 81]
    assert cropped(frames, stride=4).shape == (1, 68, 100, 3)
    with pytest.raises(ValueError, match=r"at least 32 pixels .* received \(70, 100\), .*31"):
        cropped(frames, 31, 8)
    with pytest.raises(ValueError, match=r"at most 70 pixels, .* received 71"):
        cropped(frames, 71)


def test_normalized():
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    frames[1, 2, 3] = 1, 2, 172
    x = normalized(frames)
    assert x.shape == (1, 3, 2, 4, 5) and x.dtype == np.float32
    expected = np.array([-113.75, -112.75, 57.25], np.float32) / np.float32(57.375)
    np.testing.assert_array_equal(x[0, :, 1, 2, 3], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be at least 1; received 0"),
        ({"every": 0}, "every must be at least 1; received 0"),
        ({"short_side": 0}, "short_side must be at least 1; received 0"),
        ({"start": -1.0}, "start must be at least 0 seconds; received -1.0"),
        (
            {"count": 5, "every": 6},
            r"grey.mkv must have 25 frames from 0.0 s on, to take 5 of them; received enough for 4",
        ),
        ({"start": 9.0}, "received enough for 0"),
    ],
)
def test_errors_of_a_clip(video, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_clip(video, **{"count": 1, **arguments})


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text.mp4 must be a video; FFmpeg does not know its"):
        read_clip(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError):
        read_clip(tmp_path / "none.mp4")
