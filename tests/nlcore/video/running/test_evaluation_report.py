"""Results are those of the merged scores."""

import json
import os

import numpy as np
import pytest
from training_set import small_recipe

from nlcore.video.labels import Index, Video
from nlcore.video.metrics import mean_average_precision
from nlcore.video.running.evaluation_report import write_results
from nlcore.video.views import ViewScores

pytest.importorskip("matplotlib")


def index_of(labels, names=("a", "b", "c")):
    videos = tuple(
        Video(f"{n}.mp4", 10, 24.0, 64, 48, 1, 1, labels=own) for n, own in enumerate(labels)
    )
    return Index("slowfast", names, None, videos)


def scores_of(rows):
    scores = ViewScores([f"{n}.mp4" for n in reversed(range(len(rows)))], 2, 1, 4)
    for n, views in enumerate(rows):
        for view, row in enumerate(views):
            scores.add(f"{n}.mp4", view, row)
    return scores


ROWS = [
    ([0.5, 0.25, 0.25, 0], [0, 0.75, 0.25, 0]),  # b by the mean, b by the largest
    ([0.5, 0.5, 0, 0], [0.25, 0.25, 0.5, 0]),
    ([0, 0, 1, 0], [0.5, 0.5, 0, 0]),
]


def test_one_label(tmp_path):
    index = index_of([(1,), (2,), (2,)])
    found = write_results(scores_of(ROWS), index, small_recipe(), tmp_path)
    assert found.metrics == {"top1": 2 / 3, "top5": 1.0}
    assert [(row.name, row.videos) for row in found.classes] == [
        *(("a", 0), ("b", 1), ("c", 2), ("3", 0))
    ]
    about = json.loads((tmp_path / "metrics.json").read_text())
    assert about == {"top1": 2 / 3, "top5": 1.0, "videos": 3, "views": 2, "merge": "mean"}
    assert (tmp_path / "classes.csv").read_text().splitlines()[2:4] == ["b,1,1.0,", "c,2,0.5,a"]
    assert (tmp_path / "videos.csv").read_text().splitlines() == [
        "video,labels,predicted,score,right",
        "2.mp4,c,c,0.5,1",
        "1.mp4,c,a,0.375,0",
        "0.mp4,b,b,0.5,1",
    ]
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_several_labels(tmp_path):
    labels = [(0, 1), (), (2,)]
    recipe = small_recipe(loss="sigmoid_cross_entropy", merge="max")
    found = write_results(scores_of(ROWS), index_of(labels), recipe, tmp_path, "slowfast")
    merged = np.array([np.max(views, axis=0) for views in ROWS])
    targets = np.zeros((3, 4))
    for n, own in enumerate(labels):
        targets[n, list(own)] = 1
    right = mean_average_precision(merged[::-1], targets[::-1], "slowfast")
    assert found.metrics == {"mean_average_precision": right}
    assert (tmp_path / "videos.csv").read_text().splitlines()[1:] == [
        "2.mp4,c,c,1,1",
        "1.mp4,,a,0.5,0",
        "0.mp4,a; b,b,0.75,1",
    ]
    assert not (tmp_path / "confusion.png").exists()


def test_scores_of_other_videos(tmp_path):
    with pytest.raises(ValueError, match=r"must have the 3 videos of the scores; 2 are missing, s"):
        write_results(scores_of(ROWS), index_of([(1,)]), small_recipe(), tmp_path)
    scores = ViewScores(["0.mp4"], 2, 1, 4)
    with pytest.raises(ValueError, match="all 2 views must be added"):
        write_results(scores, index_of([(1,)]), small_recipe(), tmp_path)


def test_a_path_that_is_no_text(tmp_path):
    path = os.fsdecode(b"caf\xe9.mp4")
    scores = ViewScores([path], 1, 1, 3)
    scores.add(path, 0, [0.25, 0.5, 0.25])
    video = Video(path, 10, 24.0, 64, 48, 1, 1, labels=(1,))
    write_results(
        scores, Index("slowfast", ("a", "b", "c"), None, (video,)), small_recipe(), tmp_path
    )
    assert (tmp_path / "videos.csv").read_bytes().splitlines()[1] == b"caf\xe9.mp4,b,b,0.5,1"
