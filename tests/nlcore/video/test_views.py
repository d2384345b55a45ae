"""Which process computes which view, and how views merge."""

import itertools
import re

import numpy as np
import pytest

from nlcore.video.metrics import mean_average_precision
from nlcore.video.views import (
    ViewScores,
    assigned,
    clip_and_crop,
    merge_views,
    read_scores,
)


@pytest.mark.parametrize("split", ["contiguous", "strided"])
@pytest.mark.parametrize(
    ("videos", "views", "processes"), [(7, 3, 4), (1, 1, 1), (2, 1, 5), (5, 30, 8)]
)
def test_every_view_is_assigned_once(videos, views, processes, split):
    parts = [assigned(videos, views, k, processes, split) for k in range(processes)]
    pairs = [tuple(row) for part in parts for row in part.tolist()]
    assert sorted(pairs) == list(itertools.product(range(videos), range(views)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part.shape[1:] == (2,) and part.dtype == np.int64 for part in parts)


def test_the_order_of_each_split():
    assert assigned(2, 2, 0, 3).tolist() == [[0, 0]]
    assert assigned(2, 2, 1, 3).tolist() == [[0, 1]]
    assert assigned(2, 2, 2, 3).tolist() == [[1, 0], [1, 1]]
    assert assigned(2, 2, 0, 3, "strided").tolist() == [[0, 0], [1, 1]]
    assert [clip_and_crop(view, 3) for view in (0, 2, 3, 29)] == [(0, 0), (0, 2), (1, 0), (9, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "videos must be an int > 0; received 0"),
        ((1, 0), "views must be an int > 0; received 0"),
        ((1, 1, 2, 2), "process must be from 0 to 1; received 2"),
        (
            (1, 1, 0, 1, "random"),
            "split must be one of ('contiguous', 'strided'); received 'random'",
        ),
    ],
)
def test_errors_of_the_assignment(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        assigned(*arguments)


def filled(rng, videos=("a.mp4", "b.mp4"), clips=2, crops=3, classes=4):
    collected = ViewScores(videos, clips, crops, classes)
    for video, view in itertools.product(videos, range(clips * crops)):
        collected.add(video, view, rng.random(classes))
    return collected


def test_merged_values():
    scores = np.array([[[0.25, 0.75], [0.5, 0.5], [0.125, 0.875]]])
    assert merge_views(scores, "sum").tolist() == [[0.875, 2.125]]
    assert merge_views(scores, "max").tolist() == [[0.5, 0.875]]
    assert merge_views(scores, "mean").tolist() == [[0.875 / 3, 2.125 / 3]]
    with pytest.raises(
        ValueError, match=re.escape("one of ('mean', 'max', 'sum'); received 'med'")
    ):
        merge_views(scores, "med")


def test_merging_does_not_depend_on_the_order_of_arrival():
    rng = np.random.default_rng(0)
    scores = rng.random((2, 30, 5)).astype(np.float32)
    pairs = list(itertools.product(range(2), range(30)))
    results = []
    for order in (pairs, rng.permutation(pairs).tolist()):
        collected = ViewScores(("a", "b"), 10, 3, 5)
        for video, view in order:
            collected.add("ab"[video], view, scores[video, view])
        results.append(collected.merged())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], merge_views(scores))
    # of one video, or of all of them: the same bits
    np.testing.assert_array_equal(merge_views(scores)[1], merge_views(scores[1]))


def test_slowfasts_sum_from_minus_1e10_loses_every_score():
    scores = np.random.default_rng(0).random((30, 4)).astype(np.float32)
    total = np.full(4, -1e10, np.float32)
    for view in scores:
        total += view
    assert (total == np.float32(-1e10)).all()
    # all videos are tied then, so that the average precision is the fraction of positives
    targets = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1]])
    lost = np.broadcast_to(total, targets.shape)
    assert mean_average_precision(lost, targets, "slowfast") == targets.mean()
    assert np.unique(merge_views(scores, "sum")).size == 4


def test_a_doubled_view_is_an_error():
    collected = filled(np.random.default_rng(0))
    message = "each view must be added once; received 'b.mp4' view 4 (clip 1, crop 1) again"
    with pytest.raises(ValueError, match=re.escape(message)):
        collected.add("b.mp4", 4, np.zeros(4))


def test_a_missing_view_is_an_error():
    collected = ViewScores(("a.mp4", "b.mp4"), 2, 3, 4)
    for view in range(6):
        collected.add("b.mp4", view, np.zeros(4))
    message = (
        "all 12 views must be added before they are merged; missing: 6, 'a.mp4' view 0 (clip 0, "
        "crop 0), 'a.mp4' view 1 (clip 0, crop 1), 'a.mp4' view 2 (clip 0, crop 2), ..."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        collected.merged()
    for view in range(5):
        collected.add("a.mp4", view, np.zeros(4))
    with pytest.raises(ValueError, match=r"missing: 1, 'a.mp4' view 5 \(clip 1, crop 2\)$"):
        collected.merged()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("c.mp4", 0, np.zeros(4)), "video must be one of the 2; received 'c.mp4'"),
        (("a.mp4", 6, np.zeros(4)), "view of 'a.mp4' must be from 0 to 5; received 6"),
        (("a.mp4", 0, np.zeros(3)), "'a.mp4' view 0 (clip 0, crop 0) must have shape (4,)"),
        (("a.mp4", 0, [0, 0, 0, np.nan]), "'a.mp4' view 0 (clip 0, crop 0) must be finite"),
    ],
)
def test_errors_of_scores(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ViewScores(("a.mp4", "b.mp4"), 2, 3, 4).add(*arguments)


def test_names_are_different():
    message = "videos must have different names; received 'a' twice"
    with pytest.raises(ValueError, match=message):
        ViewScores(("a", "b", "a"), 1, 1, 1)


def test_files_of_processes_are_put_together(tmp_path):
    whole = filled(np.random.default_rng(0))
    files = []
    for process in range(3):
        part = ViewScores(whole.videos, 2, 3, 4)
        for video, view in assigned(2, 6, process, 3).tolist():
            part.add(whole.videos[video], view, whole.scores[video, view])
        files.append(tmp_path / f"scores-{process}.npz")
        part.save(files[-1], {"process": process})
    assert sorted(tmp_path.iterdir()) == files  # nothing is left beside them
    found, facts = read_scores(files)
    assert facts == [{"process": 0}, {"process": 1}, {"process": 2}]
    assert (found.videos, found.clips, found.crops) == (("a.mp4", "b.mp4"), 2, 3)
    np.testing.assert_array_equal(found.scores, whole.scores)
    for merge in ("mean", "max", "sum"):
        np.testing.assert_array_equal(found.merged(merge), whole.merged(merge))
    named = "'a.mp4' view 0 (clip 0, crop 0)"
    message = f"each view must be in one file; received {named} again in {files[0]}"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_scores([*files, files[0]])


def test_files_must_be_of_the_same_test(tmp_path):
    for name, videos in (("one", ("a", "b")), ("two", ("a", "c"))):
        ViewScores(videos, 2, 3, 4).save(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match=r"two\.npz must have the videos, clips, crops"):
        read_scores([tmp_path / "one.npz", tmp_path / "two.npz"])
    with pytest.raises(ValueError, match="files must be at least one file of scores"):
        read_scores([])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_other_files_are_errors(tmp_path, content):
    file = tmp_path / "scores.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"scores\.npz must be a file of scores; "):
        read_scores([file])


def test_nothing_is_unpickled(tmp_path):
    file = tmp_path / "scores.npz"
    np.savez(file, about=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match=r"scores\.npz must be a file of scores; "):
        read_scores([file])
