"""Indexes of sets of films, whole, interrupted, changed and damaged."""

import json
import os
import re
from collections import Counter
from fractions import Fraction

import pytest
from films import av, pictures, write_film, write_images

from nlcore.video.labels import Source, labels_of, make_index, read_index, read_list
from nlcore.video.labels import making as making_module
from nlcore.video.labels.making import beside

CHARADES = "id,actions\n"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Five films of 10, 11, ... frames."""
    folder = tmp_path_factory.mktemp("films")
    for n in range(5):
        options = {"options": {"g": "5"}, "rate": Fraction(30000, 1001) if n else 24}
        write_film(folder / f"film {n}.mp4", pictures(10 + n, 48 + 2 * n), **options)
    return folder


@pytest.fixture
def listing(films, tmp_path):
    """The five films as a list of SlowFast."""
    path = tmp_path / "list.csv"
    path.write_text("".join(f"film {n}.mp4 {n % 3}\n" for n in range(5)))
    return read_list("slowfast", Source(path, films))


@pytest.fixture
def decoded(monkeypatch):
    """How often each file has been decoded."""
    count, real = Counter(), making_module.measured

    def counting(path):
        count[path.name] += 1
        return real(path)

    monkeypatch.setattr(making_module, "measured", counting)
    return count


def records(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def made(listing, path, **options):
    return make_index(listing, path, "slowfast", **{"workers": 0, **options})


@pytest.mark.parametrize("workers", [0, 2])
def test_index(listing, films, tmp_path, workers):
    told = []
    summary = made(
        listing, tmp_path / "i.jsonl", workers=workers, tell=lambda *done: told.append(done)
    )
    assert (summary.decoded, summary.known, summary.skipped, summary.dropped) == (5, 0, (), ())
    assert told == [(n, 5) for n in range(6)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.jsonl", "list.csv"]
    index = read_index(tmp_path / "i.jsonl")
    assert index == summary.index
    assert (index.format, index.names, index.root) == ("slowfast", ("0", "1", "2"), films)
    for n, video in enumerate(index.videos):
        state = (films / f"film {n}.mp4").stat()
        assert (video.path, video.labels, video.frames) == (f"film {n}.mp4", (n % 3,), 10 + n)
        assert (video.width, video.height) == (64, 48 + 2 * n)
        assert video.fps == (30000 / 1001 if n else 24.0)
        assert (video.size, video.modified) == (state.st_size, state.st_mtime_ns)
        assert index.read(n, [video.frames - 1]).shape == (1, video.height, 64, 3)


@pytest.mark.parametrize("torn", ["", '["film 4.mp4", [], 12'])
def test_an_interrupted_run_goes_on(listing, tmp_path, decoded, torn):
    path = tmp_path / "i.jsonl"

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(listing, path, tell=interrupt)
    assert not path.exists() and decoded.total() == 3
    with beside(path, "part").open("a") as part:
        part.write(torn)
    summary = made(listing, path)
    assert (summary.decoded, summary.known) == (2, 3)
    assert set(decoded.values()) == {1} and len(decoded) == 5
    assert not beside(path, "part").exists()
    assert read_index(path) == made(listing, tmp_path / "other.jsonl").index


def test_lines_after_a_torn_one_are_read(listing, tmp_path, decoded):
    path = tmp_path / "i.jsonl"
    beside(path, "part").write_text('["film 0.mp4", [], 12')

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(listing, path, tell=interrupt)
    assert made(listing, path).known == 2
    assert set(decoded.values()) == {1}


def test_files_that_have_not_changed_are_not_decoded_again(films, tmp_path, decoded):
    folder = tmp_path / "run"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.mp4").write_bytes((films / f"film {n}.mp4").read_bytes())
    path = tmp_path / "i.jsonl"
    made(read_list("pytorchvideo", Source(tmp_path)), path)
    os.utime(folder / "1.mp4", ns=(0, 10**9))
    (folder / "3.mp4").write_bytes((films / "film 3.mp4").read_bytes())
    (folder / "0.mp4").unlink()
    summary = made(read_list("pytorchvideo", Source(tmp_path)), path)
    assert (summary.decoded, summary.known) == (2, 1)
    assert decoded == {"0.mp4": 1, "1.mp4": 2, "2.mp4": 1, "3.mp4": 1}
    assert [video.path for video in read_index(path).videos] == [f"run/{n}.mp4" for n in (1, 2, 3)]


def charades(tmp_path, rows, **options):
    (tmp_path / "list.csv").write_text(CHARADES + rows)
    listing = read_list("charades", Source(tmp_path / "list.csv"))
    return make_index(listing, tmp_path / "c.jsonl", "charades", workers=0, **options)


def test_actions_of_charades(tmp_path):
    write_film(tmp_path / "AB.mp4", pictures(48), options={"g": "12"})  # 2 s
    write_images(tmp_path / "CD", pictures(30), "CD-%06d.jpg")
    rows = "AB,c001 0.00 0.50;c002 0.51 99.0;c003 2.10 3.00;c004 1.0 0.5;c005 0.26 0.27\n"
    rows += "CD,c006 0.10 0.30\n"
    summary = charades(tmp_path, rows)
    first, second = read_index(tmp_path / "c.jsonl").videos
    assert first.intervals == ((1, 0, 12), (2, 13, 47))
    assert [(each.action, each.line) for each in summary.dropped] == [
        ("c003", 2),  # after the video's end
        ("c004", 2),  # ends before it starts
        ("c005", 2),  # between two frames
    ]
    assert second.intervals == ((6, 3, 7),) and second.fps == 24.0 and second.frames == 30
    assert labels_of(first, range(10, 14)) == (1, 2) == labels_of(first)
    dropped = records(beside(tmp_path / "c.jsonl", "skipped"))
    assert dropped[0] == {
        "line": 2,
        "path": "AB.mp4",
        "reason": "no frame is from 2.1 to 3.0 s; the video ends at 2.00 s",
        "action": "c003",
    }
    charades(tmp_path, "CD,c006 0.10 0.30\n", image_fps=10.0)
    (again,) = read_index(tmp_path / "c.jsonl").videos
    assert again.intervals == ((6, 1, 3),) and again.fps == 10.0
    assert not beside(tmp_path / "c.jsonl", "skipped").exists()


def test_times_are_exact(tmp_path):
    """0.1 s at 30 frames a second is frame 3, which rounding would miss: 0.1 * 30 > 3."""
    write_images(tmp_path / "AB", pictures(9))
    charades(tmp_path, "AB,c001 0.1 0.2\n", image_fps=30.0)
    assert read_index(tmp_path / "c.jsonl").videos[0].intervals == ((1, 3, 6),)


# Damaged sets


def film(path, count=60, **options):
    write_film(path, pictures(count), options={"g": "12", "bf": "2"}, **options)
    return path.read_bytes()


def cut(share, **options):
    def write(path):
        content = film(path, **options)
        path.write_bytes(content[: int(share * len(content))])

    return write


def overwritten(path):
    content = bytearray(film(path))
    content[2500:2600] = bytes(range(100))
    path.write_bytes(content)


def lost_packets(path):
    content = bytearray(film(path))
    content[188 * 60 : 188 * 70] = bytes(1880)
    path.write_bytes(content)


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def two_sizes(path):
    """Two films, one after the other, as a stream of H.264 without a container."""
    other = path.with_name("other.h264")
    write_film(path, pictures(3))
    write_film(other, pictures(3, 32, 32))
    path.write_bytes(path.read_bytes() + other.read_bytes())


def no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/film.ts\n#EXT-X-ENDLIST\n")


def images(change):
    def write(path):
        paths = write_images(path, pictures(4, 96, 128))
        change(paths)

    return write


#: Case -> file, function that writes it, and the reason that is stored.
DAMAGED = {
    "missing": ("a.mp4", lambda path: None, "No such file or directory: "),
    "empty": ("a.mp4", lambda path: path.touch(), "must be a video; FFmpeg does not know"),
    "text": ("a.mp4", lambda path: path.write_text("no video"), "must be a video; FFmpeg"),
    "a folder": ("a.mp4", lambda path: path.mkdir(), "Is a directory: "),
    "a link to nothing": (
        "a.mp4",
        lambda path: path.symlink_to("nothing"),
        "No such file or directory: ",
    ),
    "sound only": ("a.wav", sound, "must be a video; received a file without a video stream"),
    "an address": ("a.m3u8", playlist, "must be a video|is damaged"),
    "mp4 without its table": ("a.mp4", cut(0.5), "does not know its format, or it is cut off"),
    "mp4 that ends early": (
        "a.mp4",
        cut(0.7, container_options={"movflags": "faststart"}),
        "is damaged or cut off after [0-9]+ decoded frames",
    ),
    "mkv that ends early": ("a.mkv", cut(0.4), "is cut off: it must last 2.5 s, and its last"),
    "webm that ends early": (
        "a.webm",
        cut(0.4, codec="libvpx-vp9"),
        "is cut off: it must last 2.5 s, and its last",
    ),
    "overwritten in the middle": ("a.mp4", overwritten, "is damaged"),
    "packets lost in the middle": ("a.ts", lost_packets, "is damaged: decoding frame"),
    "frames of two sizes": ("a.h264", two_sizes, r"frames of one size; received \(64, 48\) and,"),
    "no frames": ("a.avi", no_frames, "must have frames; received a video without any"),
    "turned by 45 degrees": (
        "a.mp4",
        lambda path: film(path, rotation=45),
        "must be rotated by a multiple of 90 degrees; received 45",
    ),
}
#: Case -> function that changes a folder of images, and the reason that is stored.
DAMAGED_IMAGES = {
    "missing": (lambda paths: paths[1].unlink(), "No such file or directory: .*000002.jpg"),
    "empty": (lambda paths: paths[1].write_bytes(b""), "000002.jpg must be a JPEG image"),
    "cut off": (
        lambda paths: paths[1].write_bytes(paths[1].read_bytes()[:800]),
        "000002.jpg is damaged or cut off",
    ),
    "text": (lambda paths: paths[1].write_text("no image"), "000002.jpg is damaged or cut off"),
    "another size": (
        lambda paths: write_film(paths[1], pictures(1), "mjpeg", 1, "yuvj420p"),
        r"must have frames of one size; received \(128, 96\) and, at frame 1, \(64, 48\)",
    ),
}


def indexed(tmp_path, listing):
    summary = made(listing, tmp_path / "i.jsonl")
    found = records(beside(tmp_path / "i.jsonl", "skipped"))
    assert [list(each[:3]) for each in summary.skipped] == [list(each.values()) for each in found]
    return summary, found


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_videos_are_skipped_by_name(films, tmp_path, case):
    name, write, reason = DAMAGED[case]
    write(tmp_path / name)
    good = films / "film 1.mp4"
    (tmp_path / "list.csv").write_text(f"{good} 0\n{name} 1\n")
    summary, (record,) = indexed(tmp_path, read_list("slowfast", Source(tmp_path / "list.csv")))
    assert [video.path for video in summary.index.videos] == [str(good)]
    assert (record["line"], record["path"]) == (2, name)
    assert str(tmp_path / name) in record["reason"]
    assert re.search(reason, record["reason"]), record["reason"]


@pytest.mark.parametrize("case", DAMAGED_IMAGES)
def test_damaged_images_are_skipped_by_name(tmp_path, case):
    change, reason = DAMAGED_IMAGES[case]
    images(change)(tmp_path / "AB")
    rows = "".join(f'AB 0 {n} AB/{n + 1:06d}.jpg "1"\n' for n in range(4))
    header = "original_vido_id video_id frame_id path labels\n"
    (tmp_path / "list.csv").write_text(header + rows)
    listing = read_list("slowfast-charades", Source(tmp_path / "list.csv"))
    summary, (record,) = indexed(tmp_path, listing)
    assert len(summary.index) == 0 and record["path"] == "AB"
    assert re.search(reason, record["reason"]), record["reason"]


def test_what_is_left_of_a_stream_is_a_shorter_video(tmp_path):
    """A transport stream does not state its length, so its end is where it ends."""
    cut(0.5)(tmp_path / "a.ts")
    (tmp_path / "list.csv").write_text("a.ts 0\n")
    summary = made(read_list("slowfast", Source(tmp_path / "list.csv")), tmp_path / "i.jsonl")
    assert 20 < summary.index.videos[0].frames < 40


def test_errors(listing, tmp_path):
    path = tmp_path / "list.csv"
    with pytest.raises(FileExistsError, match=r"list.csv exists and is not an index"):
        made(listing, path)
    assert path.read_text().startswith("film 0")
    with pytest.raises(ValueError, match="workers must be at least 0; received -1"):
        made(listing, tmp_path / "i.jsonl", workers=-1)
    with pytest.raises(ValueError, match="image_fps must be above 0; received 0"):
        made(listing, tmp_path / "i.jsonl", image_fps=0)
    with pytest.raises(FileNotFoundError):
        made(listing, tmp_path / "none" / "i.jsonl")
