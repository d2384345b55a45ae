"""Results of every class, by hand."""

import math

import numpy as np
import pytest

from nlcore.video.metrics import (
    average_precisions,
    class_table,
    confusion,
    draw_confusion,
    precision_table,
)

#: Predicted classes 0, 1, 1, 2, 0, with no video of class 3.
SCORES = np.eye(4)[[0, 1, 1, 2, 0]]
LABELS = [0, 0, 0, 2, 1]


def test_confusion():
    assert confusion(SCORES, LABELS).tolist() == [
        [1, 2, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_equal_to_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.random((90, 5)), rng.integers(0, 5, 90)
    theirs = metrics.confusion_matrix(labels, scores.argmax(axis=1), labels=range(5))
    np.testing.assert_array_equal(confusion(scores, labels), theirs)


def test_class_table():
    rows = class_table(SCORES, LABELS, ["run", "walk", "sit", "jump"])
    assert [(r.name, r.videos, r.confused_with) for r in rows] == [
        ("run", 3, "walk"),
        ("walk", 1, "run"),
        ("sit", 1, ""),
        ("jump", 0, ""),
    ]
    assert [r.value for r in rows[:3]] == [1 / 3, 0.0, 1.0]
    assert math.isnan(rows[3].value)
    assert [r.name for r in class_table(SCORES, LABELS)] == ["0", "1", "2", "3"]


def test_precision_table():
    targets = np.array([[1, 1], [0, 1], [1, 0]])
    scores = np.array([[0.5, 0.2], [0.6, 0.3], [0.4, 0.9]])
    rows = precision_table(scores, targets, "slowfast", ["a", "b"])
    assert [(r.name, r.videos) for r in rows] == [("a", 2), ("b", 2)]
    assert [r.value for r in rows] == average_precisions(scores, targets, "slowfast").tolist()


def test_names_are_as_many_as_classes():
    message = "names must be 4, one for each class; received 1"
    for table, last in ((class_table, LABELS), (precision_table, SCORES)):
        with pytest.raises(ValueError, match=message):
            table(SCORES, last, names=["run"])
    with pytest.raises(ValueError, match=message):
        draw_confusion(confusion(SCORES, LABELS), ["run"])


@pytest.mark.parametrize(("classes", "written"), [(4, True), (60, False)])
def test_picture(classes, written, tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    matrix = confusion(rng.random((500, classes)), rng.integers(0, classes, 500))
    matrix[1] = 0  # a class without videos
    figure = draw_confusion(matrix, [f"class {k}" for k in range(classes)])
    axes = figure.axes[0]
    (image,) = axes.get_images()
    shown = np.asarray(image.get_array())
    sums = matrix.sum(axis=1)
    np.testing.assert_array_equal(shown[sums > 0], matrix[sums > 0] / sums[sums > 0, None])
    assert (shown[1] == 0).all()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert ("class 0" in labels) == written
    figure.savefig(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
