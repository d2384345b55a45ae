"""Labels that do not fit a recipe are refused before the training."""

from dataclasses import replace
from pathlib import Path

import pytest

from nlcore.video import recipe
from nlcore.video.labels import Index, Video
from nlcore.video.loading import check_targets, target_of
from nlcore.video.loading.targets import check_names


def index_of(*videos):
    plain = Video("a.mp4", 10, 24.0, 64, 48, 1, 1)
    found = tuple(replace(plain, path=f"{n}.mp4", **fields) for n, fields in enumerate(videos))
    return Index("slowfast", ("x", "y"), Path("/none"), found)


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([{"labels": (0,)}, {"labels": (2,)}], "1.mp4 must have labels from 0 to 1, .*received 2"),
        ([{"labels": ()}], r"0.mp4 must have one label, .*; received \[\]"),
        ([{"labels": (0, 1)}], r"one label, for the loss 'softmax.*; received \[0, 1\]"),
        ([{"intervals": ((0, 1, 2),)}], "one label, .*; received intervals"),
        ([{"labels": (5,)}] * 5, "and 2 more videos"),
        ([], "at least one video; received none"),
    ],
)
def test_wrong_labels(videos, message):
    two = recipe("paper", network={"classes": 2})
    with pytest.raises(ValueError, match=message):
        check_targets(index_of(*videos), two)


def test_labels_of_several_classes():
    several = recipe("charades", network={"classes": 2})
    check_targets(index_of({"labels": ()}, {"labels": (0, 1)}, {"intervals": ()}), several)
    with pytest.raises(ValueError, match="received 7"):
        check_targets(index_of({"intervals": ((7, 0, 1),)}), several)
    assert target_of((1,), several).tolist() == [0.0, 1.0]
    assert target_of((), several).tolist() == [0.0, 0.0]
    assert target_of((1,), recipe("paper")).dtype == "int64"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("left", "right"), None),
        (("left", "right", "up"), None),  # a list that lacks the last class
        (("0", "1"), None),  # without names
        (("right", "left"), "label 0 must be 'right'; received 'left', and 2 other names in all"),
    ],
)
def test_labels_with_other_names(names, message):
    index = replace(index_of({"labels": (0,)}), names=("left", "right"))
    if message is None:
        check_names(index, names, "the run")
    else:
        with pytest.raises(ValueError, match=message):
            check_names(index, names, "the run")
