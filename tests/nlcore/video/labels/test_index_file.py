"""Index files that are damaged, or whose videos have changed."""

import dataclasses
import json
import os

import pytest
from films import pictures, write_film, write_images

from nlcore.video.labels import Index, ListError, Video, make_index, read_index
from nlcore.video.labels.index_file import KEYS, OPTIONAL, write_index
from nlcore.video.labels.listing import Entry, Listing
from nlcore.video.labels.numbered import runs_of


@pytest.fixture
def index(tmp_path):
    """An index of a film, of images and of a film in parts."""
    write_film(tmp_path / "a b.mp4", pictures(5))
    write_images(tmp_path / "c", pictures(3))
    write_film(tmp_path / "é.mp4", pictures(9))
    entries = (
        Entry(1, "a b.mp4", (1,)),
        Entry(2, "c", (0,), images=runs_of(f"{n:06d}.jpg" for n in (1, 2, 3))),
        Entry(3, "é.mp4", intervals=((0, 0, 3), (1, 2, 8))),
    )
    listing = Listing(entries, tmp_path, ("run", "sit"))
    make_index(listing, tmp_path / "index.jsonl", "slowfast", workers=0)
    return tmp_path / "index.jsonl"


def changed(path, line, **change):
    """Change keys of one line, the header being line 1."""
    lines = path.read_text("utf-8").splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | change)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_the_file(index):
    header, film, images, parts = map(json.loads, index.read_text("utf-8").splitlines())
    assert header == {
        "nlcore_video_index": 1,
        "format": "slowfast",
        "root": str(index.parent),
        "names": ["run", "sit"],
        "videos": 3,
    }
    state = (index.parent / "a b.mp4").stat()
    assert film == {
        "path": "a b.mp4",
        "frames": 5,
        "fps": 24.0,
        "width": 64,
        "height": 48,
        "size": state.st_size,
        "modified": state.st_mtime_ns,
        "labels": [1],
    }
    assert images["images"] == [["", 6, 1, 3, ".jpg"]] and images["frames"] == 3
    assert parts["intervals"] == [[0, 0, 3], [1, 2, 8]] and "labels" not in parts


def test_keys_are_the_fields_of_a_video():
    assert [field.name for field in dataclasses.fields(Video)] == list(KEYS)
    defaults = {field.name: field.default for field in dataclasses.fields(Video)}
    assert {name: defaults[name] for name in OPTIONAL} == OPTIONAL


def test_a_written_index_is_read_again(tmp_path):
    videos = (
        Video("a.mp4", 5, 30000 / 1001, 64, 48, 10**12, 10**18, (1, 0)),
        Video("a\u2028\x85\udcff\n.mp4", 5, 25.0, 64, 48, 9, 9, (1,)),
        Video("b", 5, 24.0, 64, 48, 9, 9, intervals=(), images=(("x", -1, 0, 0, ""),)),
    )
    index = Index("mmaction2", ("0", "ü"), tmp_path, videos)
    write_index(tmp_path / "i.jsonl", index)
    assert read_index(tmp_path / "i.jsonl", check=False) == index
    assert [path.name for path in tmp_path.iterdir()] == ["i.jsonl"]


def test_another_root(index, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "videos"
    index.parent.rename(moved)
    with pytest.raises(ListError, match=r"line 2: .*No such file or directory: .*a b.mp4"):
        read_index(moved / "index.jsonl")
    assert len(read_index(moved / "index.jsonl", root=moved)) == 3


def append(path):
    with path.open("ab") as file:
        file.write(b"x")


#: Case -> function of the index's path that damages something, and the error.
DAMAGED = {
    "no file": (lambda p: (p.parent / "a b.mp4").unlink(), "line 2: .*No such file .*a b.mp4"),
    "a longer file": (
        lambda p: append(p.parent / "é.mp4"),
        "line 4: é.mp4 must have [0-9]+ bytes, as when it was indexed; received [0-9]+",
    ),
    "a newer file": (
        lambda p: os.utime(p.parent / "é.mp4", ns=(5, 5)),
        "line 4: é.mp4 has changed since it was indexed: .* ns; received 5",
    ),
    "no image": (lambda p: (p.parent / "c/000002.jpg").unlink(), "line 3: .*No such .*000002.jpg"),
    "a longer image": (lambda p: append(p.parent / "c/000002.jpg"), "line 3: c must have [0-9]+ b"),
    "a label": (
        lambda p: changed(p, 2, labels=[2]),
        "line 2: a b.mp4 must have labels from 0 to 1; received 2",
    ),
    "a label below 0": (lambda p: changed(p, 2, labels=[-1]), "from 0 to 1; received -1"),
    "a label in words": (lambda p: changed(p, 2, labels=["run"]), "0 to 1; received 'run'"),
    "a label of a part": (
        lambda p: changed(p, 4, intervals=[[2, 0, 1]]),
        "line 4: é.mp4 must have labels from 0 to 1; received 2",
    ),
    "a part after the end": (
        lambda p: changed(p, 4, intervals=[[1, 2, 9]]),
        "line 4: é.mp4 must have label 1 at frames from 0 to 8; received 2 to 9",
    ),
    "a part of two numbers": (
        lambda p: changed(p, 4, intervals=[[1, 2]]),
        r"line 4: é.mp4 must have intervals \[label, first, last\]; received \(1, 2\)",
    ),
    "no frames": (lambda p: changed(p, 2, frames=0), "a b.mp4: frames must be above 0; received 0"),
    "a wrong type": (
        lambda p: changed(p, 2, frames="5"),
        "line 2: frames must be int; received '5",
    ),
    "a key too many": (lambda p: changed(p, 2, codec="h264"), r"missing \[\], extra \['codec'\]"),
    "a torn line": (
        lambda p: p.write_bytes(p.read_bytes()[:-9]),
        "line 4: must be JSON; received ",
    ),
    "a missing line": (
        lambda p: p.write_text("".join(p.read_text("utf-8").splitlines(True)[:-1]), "utf-8"),
        "must have 3 videos; received 2 lines",
    ),
    "another version": (
        lambda p: changed(p, 1, nlcore_video_index=2),
        "must have version 1; received 2",
    ),
    "a header without names": (
        lambda p: p.write_text('{"nlcore_video_index": 1}\n'),
        r"missing \['format', 'root', 'names', 'videos'\]",
    ),
    "a list instead": (
        lambda p: p.write_text("a.mp4 1\n"),
        "must be an index, made by `nlcore-video index`; received the first line 'a.mp4 1'",
    ),
    "an empty file": (
        lambda p: p.write_text(""),
        "must be an index, .*; received the first line ''",
    ),
    "bytes": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "index.jsonl must be text in UTF-8"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_indexes(index, case):
    damage, message = DAMAGED[case]
    assert len(read_index(index)) == 3
    damage(index)
    with pytest.raises(ListError, match=message) as error:
        read_index(index)
    assert str(index) in str(error.value)


def test_files_are_not_looked_at_unless_asked(index):
    (index.parent / "a b.mp4").unlink()
    assert len(read_index(index, check=False)) == 3
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        read_index(index.parent / "none.jsonl")
