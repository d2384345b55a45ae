"""Frames at given indices: those of a full decode, whatever the file's keyframes and times."""

import contextlib
import gc
import os
import random
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from films import av, pictures, write_film, write_images

from nlcore.video import decoding, reading
from nlcore.video.decoding import after_keyframe, measured, opened
from nlcore.video.reading import images_of, read_frames, read_images

COUNT = 60
H264 = {"g": "12", "bf": "3", "b_strategy": "0"}
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:pools=none:frame-threads=1"
SQUARES = [n * (n + 1) // 2 for n in range(COUNT)]  # each frame longer than the one before

#: Name of a film -> what write_film writes into it.
FILMS = {
    "h264.mp4": {"options": H264},
    "h264.mkv": {"options": H264},
    "h264.ts": {"options": H264},
    "open_gop.mp4": {"options": {**H264, "x264-params": "open-gop=1:scenecut=0"}},
    "open_gop.mkv": {"options": {**H264, "x264-params": "open-gop=1:scenecut=0"}},
    "one_keyframe.mp4": {"options": {"g": "1000", "bf": "2"}},
    "every_keyframe.mp4": {"options": {"g": "1"}},
    "refresh.mp4": {"options": {"g": "12", "bf": "0", "x264-params": "intra-refresh=1"}},
    "variable.mp4": {"options": H264, "times": SQUARES},
    "variable.mkv": {"options": H264, "times": SQUARES},
    "late.mp4": {"options": H264, "times": range(1000, 1000 + COUNT)},
    "negative.mkv": {"options": H264, "times": range(-6, COUNT - 6)},
    "ntsc.mp4": {"options": H264, "rate": Fraction(30000, 1001)},
    "turned.mp4": {"options": H264, "rotation": 90},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
    "leading.mp4": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0:radl=2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "lag-in-frames": "10"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": "12", "preset": "12"}},
    "ten_bits.mp4": {"options": H264, "pix_fmt": "yuv420p10le"},
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "12"}, "pix_fmt": "bgr0"},
    "motion.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
#: Films of which no packets are skipped, and why.
FROM_START = {
    "one_keyframe.mp4": "there is nothing to skip",
    "refresh.mp4": "the keyframes renew the picture gradually",
    "h264.ts": "the format does not list its keyframes, and FFmpeg seeks to a later one",
    "mpeg2.mpg": "the same",
}


def written(folder, name, count=COUNT, height=48, width=64):
    return write_film(folder / name, pictures(count, height, width), **FILMS[name])


def full_decode(path):
    """All frames, by PyAV's shortest way."""
    with av.open(str(path)) as container:
        found = [
            np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            for frame in container.decode(video=0)
        ]
    return np.stack(found)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A function: name of a film -> its path and all of its frames."""
    folder, known = tmp_path_factory.mktemp("films"), {}

    def get(name):
        if name not in known:
            path = written(folder, name)
            known[name] = path, full_decode(path)
        return known[name]

    return get


class FromStart(Exception):
    """A file is decoded from its start."""


@pytest.fixture
def decoded_frames(monkeypatch):
    """A list of one number: how many frames are decoded after a keyframe."""
    count = [0]

    class Counting:
        def __init__(self, container):
            self._container = container

        def decode(self, stream):
            for frame in self._container.decode(stream):
                count[0] += 1
                yield frame

        def __getattr__(self, name):
            return getattr(self._container, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._container.close()

    def from_start(*_):
        raise FromStart

    open_ = av.open
    monkeypatch.setattr(av, "open", lambda *args, **more: Counting(open_(*args, **more)))
    monkeypatch.setattr(reading, "decoded", from_start)
    return count


@pytest.mark.parametrize("name", FILMS)
def test_frames_are_those_of_a_full_decode(film, name):
    path, expected = film(name)
    assert len({frame.tobytes() for frame in expected}) == COUNT  # no frame passes for another
    assert measured(path).frames == COUNT
    drawn = random.Random(name)
    for wanted in (
        [0],
        [COUNT - 1],
        list(range(COUNT)),
        [COUNT - 1, 3, 3, 0, 40],
        *([k] for k in range(COUNT)),
        *(sorted(drawn.sample(range(COUNT), 5)) for _ in range(5)),
    ):
        for frames in (None, COUNT):
            received = read_frames(path, wanted, frames)
            assert received.dtype == np.uint8
            np.testing.assert_array_equal(received, expected[wanted], err_msg=f"{name} {wanted}")


@pytest.mark.parametrize("name", FILMS)
def test_packets_before_a_keyframe_are_skipped(film, name, decoded_frames):
    path, _ = film(name)
    if name in FROM_START:
        with pytest.raises(FromStart):
            read_frames(path, [50], COUNT)
    else:
        read_frames(path, [50], COUNT)
        assert decoded_frames[0] < 30
    with pytest.raises(FromStart):  # the number of frames is not known
        read_frames(path, [50])
    with pytest.raises(FromStart):  # it is not that of the packets
        read_frames(path, [50], COUNT + 1)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv"])
def test_a_file_without_a_later_keyframe_is_opened_once(tmp_path, name, monkeypatch):
    path = write_film(tmp_path / name, pictures(20), options={"g": "250"})
    expected, count = full_decode(path), []
    open_ = av.open
    monkeypatch.setattr(av, "open", lambda *a, **more: count.append(a) or open_(*a, **more))
    for wanted in ([5, 9], [19]):
        np.testing.assert_array_equal(read_frames(path, wanted, 20), expected[wanted])
    # Matroska lists its keyframes at its end, so its packets are read first
    assert len(count) == (2 if name.endswith("mp4") else 4)


def test_frames_along_another_axis(film):
    path, expected = film("h264.mp4")
    each = partial(np.moveaxis, source=2, destination=0)  # (H, W, 3) -> (3, H, W)
    found = read_frames(path, [7, 3, 3], COUNT, each=each, axis=1)  # (3, T, H, W)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected[[7, 3, 3]].transpose(3, 0, 1, 2))


def test_odd_sizes(tmp_path):
    options = {"options": {"g": "4"}, "pix_fmt": "yuv444p"}
    path = write_film(tmp_path / "odd.mkv", pictures(10, 35, 51), **options)
    np.testing.assert_array_equal(read_frames(path, [9, 2], 10), full_decode(path)[[9, 2]])
    assert measured(path)[2:] == (51, 35)


def test_lossless_frames_are_the_pictures(tmp_path):
    path = write_film(tmp_path / "exact.mkv", pictures(12, 35, 51), "ffv1", pix_fmt="bgr0")
    np.testing.assert_array_equal(read_frames(path, [11, 4]), pictures(12, 35, 51)[[11, 4]])


def test_one_frame_only(tmp_path):
    path = write_film(tmp_path / "one.mp4", pictures(1))
    assert measured(path) == (1, 24.0, 64, 48)
    np.testing.assert_array_equal(read_frames(path, [0, 0], 1), full_decode(path)[[0, 0]])


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_frames_are_rotated(tmp_path, rotation):
    options = {"codec": "ffv1", "pix_fmt": "bgr0", "rotation": rotation}
    path = write_film(tmp_path / "turned.mp4", pictures(3), **options)
    expected = np.rot90(pictures(3), rotation // 90, (1, 2))
    np.testing.assert_array_equal(read_frames(path, [2, 1]), expected[[2, 1]])
    assert measured(path)[2:] == (expected.shape[2], expected.shape[1])


def test_an_edit_list_hides_frames(tmp_path):
    """A file that is cut without encoding it again hides the frames from a keyframe to the cut."""
    source = written(tmp_path, "h264.mp4")
    cut = tmp_path / "cut.mp4"
    with av.open(str(source)) as old, av.open(str(cut), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts -= 6 * 512  # 6 frames: the file's first time is negative
                packet.dts -= 6 * 512
                packet.stream = stream
                new.mux(packet)
    expected = full_decode(cut)
    count = measured(cut).frames
    assert count == len(expected) < COUNT
    with opened(cut) as video:
        skipped = after_keyframe(video, count - 1, count - 1, count)
        assert len(list(skipped)) < 20
    for k in range(count):
        np.testing.assert_array_equal(read_frames(cut, [k], count), expected[[k]])


@pytest.mark.parametrize("cut", ["at a keyframe", "between keyframes"])
def test_time_that_goes_back(tmp_path, cut):
    """Frames are shown in the order of the file, which is not that of their times."""
    film = FILMS["mpeg2.mpg"]
    late = write_film(tmp_path / "late.mpg", pictures(30), **film, times=range(500, 530))
    early = write_film(tmp_path / "early.mpg", pictures(30, photograph="coffee"), **film)
    content = early.read_bytes()
    if cut == "between keyframes":
        with av.open(str(early)) as container:
            places = [packet.pos for packet in container.demux(video=0) if packet.size]
        content = content[places[3] : places[10]]
    both = tmp_path / "both.mpg"
    both.write_bytes(late.read_bytes() + content)
    with opened(both) as video, pytest.raises(decoding.CannotSkip):
        decoding._times(video)
    if cut == "at a keyframe":
        expected = full_decode(both)
        assert len(expected) == measured(both).frames == 60
        np.testing.assert_array_equal(read_frames(both, [3, 40], 60), expected[[3, 40]])


def test_names_that_ffmpeg_reads_as_addresses(tmp_path, monkeypatch):
    path = write_film(tmp_path / "film.mp4", pictures(2))
    for name in ("a:b.mp4", "film%03d.mp4", "a film, 2.mp4", "-i.mp4"):
        path = path.rename(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert read_frames(name, [1]).shape == read_frames(path, [1], 2).shape == (1, 48, 64, 3)


# Images


def test_images_in_the_order_of_their_numbers(tmp_path):
    paths = write_images(tmp_path / "video", pictures(11), "frame-%d.jpg")
    (tmp_path / "video" / "list.txt").write_text("no image")
    assert images_of(tmp_path / "video") == paths
    expected = np.concatenate([full_decode(path) for path in paths])
    assert len({frame.tobytes() for frame in expected}) == 11
    wanted = [10, 1, 1, 0]
    np.testing.assert_array_equal(read_frames(tmp_path / "video", wanted, 11), expected[wanted])
    np.testing.assert_array_equal(read_images(paths[::-1], wanted), expected[::-1][wanted])


def test_the_rotation_of_an_image_is_ignored(tmp_path):
    (path,) = write_images(tmp_path / "video", pictures(1))
    plain = read_images([path], [0])
    exif = bytes.fromhex("45786966 0000 4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.write_bytes(path.read_bytes()[:2] + segment + path.read_bytes()[2:])
    assert decoding.decoded_image(path).rotation == -90  # FFmpeg reads it
    np.testing.assert_array_equal(read_images([path], [0]), plain)


def test_images_differ_in_size(tmp_path):
    first = write_images(tmp_path / "first", pictures(1))
    second = write_images(tmp_path / "second", pictures(1, 32, 32))
    with pytest.raises(ValueError, match=r"one size; received \(48, 64\) and, at frame 1, \(32"):
        read_images(first + second, [0, 1])


# Errors


@pytest.mark.parametrize(
    ("indices", "frames", "message"),
    [
        ([], None, "indices of .*film.mp4 must be at least one; received none"),
        ([-1], None, "indices of .*film.mp4 must be from 0; received -1"),
        ([3, 10], 10, "indices of .*film.mp4 must be from 0 to 9; received 10"),
        ([10], None, "film.mp4 must have at least 11 frames; received 10"),
        ([10], 12, "film.mp4 must have 12 frames; received 10"),
    ],
)
def test_errors_of_indices(tmp_path, indices, frames, message):
    path = write_film(tmp_path / "film.mp4", pictures(10))
    with pytest.raises(ValueError, match=message):
        read_frames(path, indices, frames)


# Resources


def open_files():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the folder that is listed
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_file_stays_open(tmp_path):
    path = written(tmp_path, "h264.mp4")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(path.read_bytes()[:3000])
    gc.disable()  # files are closed at once, not when garbage is collected
    try:
        for frames in (None, COUNT):
            read_frames(path, [40], frames)
            with pytest.raises(ValueError):
                read_frames(path, [70], frames and 80)
            with pytest.raises(ValueError):
                read_frames(damaged, [40], frames)
        assert [name for name in open_files() if name.startswith(str(tmp_path))] == []
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_memory_stays_flat(tmp_path):
    """10,000 reads, a quarter of which fail. One frame a read would add 45 MB."""
    path = written(tmp_path, "h264.mp4")
    paths = write_images(tmp_path / "images", pictures(8))
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(path.read_bytes()[:3000])
    page = os.sysconf("SC_PAGE_SIZE")

    def resident():
        gc.collect()
        return page * int(Path("/proc/self/statm").read_text().split()[1])

    before = 0
    for n in range(2750):
        if n == 250:  # caches are full
            before = resident()
        read_frames(path, [n % COUNT, 3 * n % COUNT], COUNT)
        read_frames(path, [n % COUNT])
        read_images(paths, [n % 8])
        with contextlib.suppress(ValueError):
            read_frames(damaged, [3], COUNT)
            pytest.fail("the damage is not seen")
    assert resident() - before < 4 * 2**20
