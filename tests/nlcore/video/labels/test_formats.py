"""List formats: what each line becomes, and which lines are refused."""

from fractions import Fraction

import pytest

from nlcore.video.labels import FORMATS, ListError, Source, read_list

KINETICS = "label,youtube_id,time_start,time_end,split\n"
CHARADES = "id,subject,actions,length\n"
FRAMES = "original_vido_id video_id frame_id path labels\n"


def listed(tmp_path, name, text, **options):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return read_list(name, Source(path, **options))


def pairs(listing):
    return [(entry.path, entry.labels) for entry in listing.entries]


@pytest.mark.parametrize(
    ("name", "separator", "line", "path", "labels"),
    [
        ("slowfast", None, "a/b.mp4 3", "a/b.mp4", (3,)),
        ("slowfast", None, "my film, 2.mp4 3", "my film, 2.mp4", (3,)),
        ("slowfast", ",", "my film, 2.mp4,3", "my film, 2.mp4", (3,)),
        ("slowfast", ",", "a.mp4, 3", "a.mp4", (3,)),
        ("slowfast", "\t", "a b.mp4\t3", "a b.mp4", (3,)),
        ("pytorchvideo", None, "my film, 2.mp4 \t 3", "my film, 2.mp4", (3,)),
        ("mmaction2", None, "a.mp4 3", "a.mp4", (3,)),
        ("mmaction2", None, "my film, b.mp4 3 0 2", "my film, b.mp4", (3, 0, 2)),
        ("mmaction2", ",", "my film b.mp4,3,0", "my film b.mp4", (3, 0)),
        ("mmaction2", None, "film 2 3", "film", (2, 3)),  # a name that ends in a number
    ],
)
def test_lines_of_a_path_and_labels(tmp_path, name, separator, line, path, labels):
    listing = listed(tmp_path, name, f"\ufeff{line}\r\n\n", separator=separator)
    assert pairs(listing) == [(path, labels)]
    assert listing.entries[0].line == 1 and listing.root == tmp_path
    assert listing.names == tuple(map(str, range(max(labels) + 1)))


def test_names_of_numbered_labels(tmp_path):
    given = listed(tmp_path, "slowfast", "a.mp4 1\n", names=("jump", "run", "sit"))
    assert given.names == ("jump", "run", "sit")
    counted = listed(tmp_path, "slowfast", "a.mp4 1\n", classes=4, root=tmp_path / "videos")
    assert counted.names == ("0", "1", "2", "3") and counted.root == tmp_path / "videos"


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_of_classes(tmp_path):
    touched(tmp_path, "run/b 2.mp4", "run/a.avi", "jump/deep/c.mp4")
    touched(tmp_path, ".git/x", "run/.hidden", "beside.txt")  # passed over
    listing = read_list("pytorchvideo", Source(tmp_path))
    expected = [("jump/deep/c.mp4", (0,)), ("run/a.avi", (1,)), ("run/b 2.mp4", (1,))]
    assert pairs(listing) == expected
    assert listing.names == ("jump", "run") and listing.root == tmp_path
    given = read_list("pytorchvideo", Source(tmp_path, names=("run", "jump", "sit")))
    assert [entry.labels for entry in given.entries] == [(1,), (0,), (0,)]
    assert given.names == ("run", "jump", "sit")


def test_folders_of_splits(tmp_path):
    touched(tmp_path, "train/run/a.mp4", "val/run/b.mp4", "val/sit/c.mp4")
    listing = read_list("torchvision", Source(tmp_path, split="val"))
    assert pairs(listing) == [("run/b.mp4", (0,)), ("sit/c.mp4", (1,))]
    assert listing.root == tmp_path / "val"


def test_kinetics(tmp_path):
    touched(
        tmp_path,
        "-ab_000007_000017.mp4",
        "tap dancing/cd_000010_000020.mp4",
        "tap_dancing/ef_000000_000010.mp4",
    )
    rows = "tap dancing,-ab,7,17,train\nabseiling,gone,1,11,train\n"
    rows += "tap dancing,cd,10,20,train\ntap dancing,ef,0,10,train\n"
    listing = listed(tmp_path, "kinetics", KINETICS + rows)
    assert pairs(listing) == [
        ("-ab_000007_000017.mp4", (1,)),
        ("gone_000001_000011.mp4", (0,)),
        ("tap dancing/cd_000010_000020.mp4", (1,)),
        ("tap_dancing/ef_000000_000010.mp4", (1,)),
    ]
    assert [entry.line for entry in listing.entries] == [2, 3, 4, 5]
    assert listing.names == ("abseiling", "tap dancing")


def test_a_split_of_kinetics(tmp_path):
    rows = KINETICS + "run,a,0,10,train\nsit,b,0,10,val\n"
    listing = listed(tmp_path, "kinetics", rows, split="val", names=("run", "sit"))
    assert pairs(listing) == [("b_000000_000010.mp4", (1,))]


def test_charades(tmp_path):
    touched(tmp_path, "FOLDER/FOLDER-000002.jpg", "FOLDER/FOLDER-000001.jpg")
    rows = "AB,s1,c092 11.90 21.20;c147 0.00 12.60,30.0\nFOLDER,s2,,3\n"
    listing = listed(tmp_path, "charades", CHARADES + rows)
    first, second = listing.entries
    assert first.path == "AB.mp4" and first.images == ()
    assert first.actions == (
        (92, Fraction("11.9"), Fraction("21.2")),
        (147, Fraction(0), Fraction("12.6")),
    )
    assert second.path == "FOLDER" and second.actions == ()
    assert second.images == (("FOLDER-", 6, 1, 2, ".jpg"),)
    assert len(listing.names) == 157 and listing.names[92] == "c092"


def test_frames_of_charades(tmp_path):
    rows = """\
AB 0 0 rgb/A B/AB-000003.jpg "1,2"
CD 1 0 CD/CD-000001.jpg ""
AB 0 1 rgb/A B/AB-000001.jpg "2"
AB 0 2 rgb/A B/AB-000002.jpg ""
AB 0 3 rgb/A B/AB-000002.jpg 156,2
"""
    first, second = listed(tmp_path, "slowfast-charades", FRAMES + rows).entries
    assert first.path == "rgb/A B"
    assert first.images == (
        ("AB-", 6, 3, 3, ".jpg"),
        ("AB-", 6, 1, 2, ".jpg"),
        ("AB-", 6, 2, 2, ".jpg"),
    )
    assert first.intervals == ((1, 0, 0), (2, 0, 1), (2, 3, 3), (156, 3, 3))
    assert second.path == "CD" and second.intervals == () and second.line == 3


REFUSED = {
    "slowfast, no label": ("slowfast", "a.mp4\n", {}, "line 1: must be 'path label'.* 'a.mp4'"),
    "slowfast, no path": ("slowfast", "x 1\n3\n", {}, "line 2: must be 'path label'"),
    "slowfast, a word": ("slowfast", "a.mp4 run\n", {}, "line 1: a label must be a whole number"),
    "slowfast, below 0": ("slowfast", "a.mp4 -1\n", {}, "from 0 on; received '-1'"),
    "slowfast, a fraction": ("slowfast", "a.mp4 1.0\n", {}, "from 0 on; received '1.0'"),
    "slowfast, other digits": ("slowfast", "a.mp4 ٣\n", {}, "from 0 on; received '٣'"),
    "slowfast, twice": ("slowfast", "a 1\nb 1\na 2\n", {}, "line 3: a is also on line 1"),
    "slowfast, empty": ("slowfast", "\n\n", {}, "list.csv is refused\n  the list must have lines"),
    "slowfast, other separator": (
        "slowfast",
        "a.mp4 1\n",
        {"separator": ","},
        "separated by ','; received 'a.mp4 1'",
    ),
    "slowfast, out of range": (
        "slowfast",
        "a.mp4 1\nb.mp4 2\n",
        {"classes": 2},
        "line 2: b.mp4 must have labels from 0 to 1; received 2",
    ),
    "mmaction2, a label twice": ("mmaction2", "a 1 1\n", {}, "line 1: labels must differ"),
    "pytorchvideo, no label": ("pytorchvideo", "a.mp4\n", {}, "line 1: must be 'path label'"),
    "kinetics, no column": (
        "kinetics",
        "label,youtube_id,time_start\n",
        {},
        "must have a first line with the columns label, .*; received none named time_end",
    ),
    "kinetics, a field too many": (
        "kinetics",
        KINETICS + "run,a,0,10,train,x\n",
        {},
        "line 2: must have 5 fields; received 6",
    ),
    "kinetics, a field too few": (
        "kinetics",
        KINETICS + "run,a,0\n",
        {},
        "line 2: must have 5 fields; received 3",
    ),
    "kinetics, no label": ("kinetics", KINETICS + ",a,0,10,train\n", {}, "line 2: a must have a"),
    "kinetics, no time": (
        "kinetics",
        KINETICS + "run,a,x,10,t\n",
        {},
        "numbers; received 'a', 'x'",
    ),
    "kinetics, end before start": (
        "kinetics",
        KINETICS + "run,a,10,10,t\n",
        {},
        "time_end must be after time_start; received 10 and 10",
    ),
    "kinetics, two splits": (
        "kinetics",
        KINETICS + "run,a,0,10,train\nrun,b,0,10,val\n",
        {},
        "has the splits train, val; split must be one",
    ),
    "kinetics, unknown split": (
        "kinetics",
        KINETICS + "run,a,0,10,train\n",
        {"split": "test"},
        "must have rows of split 'test'; received none",
    ),
    "kinetics, unknown label": (
        "kinetics",
        KINETICS + "run,a,0,10,train\n",
        {"names": ("sit",)},
        "line 2: label 'run' must be one of the 1 given names",
    ),
    "charades, an action": (
        "charades",
        CHARADES + "AB,s,c092 11.90,3\n",
        {},
        "line 2: an action must be .*; received 'c092 11.90'",
    ),
    "charades, a time": (
        "charades",
        CHARADES + "AB,s,c092 1.2.3 4,3\n",
        {},
        "line 2: an action must be .*; received 'c092 1.2.3 4'",
    ),
    "charades, a class": (
        "charades",
        CHARADES + "AB,s,c157 1.0 2.0,3\n",
        {},
        "line 2: class c157 must be below c157",
    ),
    "frames, no header": (
        "slowfast-charades",
        'AB 0 0 a.jpg "1"\n',
        {},
        "must have the first line 'original_vido_id .*; received 'AB 0 0",
    ),
    "frames, a field too few": (
        "slowfast-charades",
        FRAMES + "AB 0 0 a.jpg\n",
        {},
        "line 2: must be 'original_vido_id",
    ),
    "frames, a class": (
        "slowfast-charades",
        FRAMES + 'AB 0 0 a.jpg "157"\n',
        {},
        "must have labels from 0 to 156; received 157",
    ),
    "frames, a comma": ("slowfast-charades", FRAMES + 'AB 0 0 a.jpg "1,"\n', {}, "line 2: a label"),
    "frames, two folders": (
        "slowfast-charades",
        FRAMES + 'AB 0 0 x/a.jpg "1"\nAB 0 1 y/a.jpg "1"\n',
        {},
        "line 3: images of AB must be in 'x', as on line 2; received 'y/a.jpg'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_lists(tmp_path, case):
    name, text, options, message = REFUSED[case]
    with pytest.raises(ListError, match=message):
        listed(tmp_path, name, text, **options)


def test_all_faults_are_named(tmp_path):
    with pytest.raises(ListError) as error:
        listed(tmp_path, "slowfast", "x\n" * 14 + "a.mp4 1\n")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        f"line {n}" for n in range(1, 11)
    ]
    assert lines[-1].strip() == "and 4 more"


def test_refused_folders(tmp_path):
    with pytest.raises(ListError, match="one folder per class; received none"):
        read_list("pytorchvideo", Source(tmp_path))
    touched(tmp_path, "train/run/a.mp4")
    (tmp_path / "train" / "sit").mkdir()
    with pytest.raises(ListError, match="class 'sit' must have videos; received none"):
        read_list("torchvision", Source(tmp_path, split="train"))
    with pytest.raises(ValueError, match="split must be the name of a folder"):
        read_list("torchvision", Source(tmp_path))
    with pytest.raises(NotADirectoryError, match="val must be a folder of one folder per class"):
        read_list("torchvision", Source(tmp_path, split="val"))


def test_refused_sources(tmp_path):
    with pytest.raises(ValueError, match=r"format must be one of slowfast, .*; received 'csv'"):
        read_list("csv", Source(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_list("slowfast", Source(tmp_path / "none.csv"))
    (tmp_path / "latin.csv").write_bytes("é.mp4 1".encode("latin1"))
    with pytest.raises(ListError, match=r"latin\.csv must be text in UTF-8"):
        read_list("slowfast", Source(tmp_path / "latin.csv"))
    for options, message in (
        ({"separator": ""}, "separator must be at least one character"),
        ({"classes": 0}, "classes must be at least 1; received 0"),
        ({"classes": 3, "names": ("a",)}, "names must be 3, one a class; received 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Source(tmp_path, **options)
    assert len(FORMATS) == 7
