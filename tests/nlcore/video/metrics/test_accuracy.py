"""Top-k accuracy and its rule for ties."""

import re

import numpy as np
import pytest

from nlcore.video.metrics import predictions, ranks, top_k


def test_by_hand():
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
    labels = [1, 1, 1]  # first, last, second
    assert ranks(scores, labels).tolist() == [0, 2, 1]
    assert [top_k(scores, labels, k) for k in (1, 2, 3, 5)] == [1 / 3, 2 / 3, 1.0, 1.0]


def test_of_equal_scores_the_smaller_class_comes_first():
    scores = np.zeros((4, 4))
    assert ranks(scores, [0, 1, 2, 3]).tolist() == [0, 1, 2, 3]
    assert predictions(scores).tolist() == [0, 0, 0, 0]
    assert top_k(scores, [0, 1, 2, 3], 2) == 0.5


def test_equal_to_a_stable_sort():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (50, 9)).astype(np.float32)  # with many ties
    labels = rng.integers(0, 9, 50)
    order = np.argsort(-scores, axis=1, kind="stable")
    assert ranks(scores, labels).tolist() == [
        list(row).index(label) for row, label in zip(order, labels, strict=True)
    ]
    assert predictions(scores).tolist() == order[:, 0].tolist()


def test_equal_to_scikit_learn_without_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.random((60, 7)), rng.integers(0, 7, 60)
    for k in range(1, 7):
        theirs = metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        assert top_k(scores, labels, k) == theirs


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[0.5, 0.5]], [0], 0), ValueError, "k must be an int > 0; received 0"),
        (([0.5], [0]), ValueError, "scores must have shape (videos, classes); received shape (1,)"),
        (([[1, 2]], [0]), TypeError, "scores must be floating point; received dtype int64"),
        (([[0.5], [np.nan]], [0, 0]), ValueError, "NaN; received NaN for video 1"),
        (([[0.5]], [0, 1]), ValueError, "labels must have shape (1,); received shape (2,)"),
        (([[0.5]], [0.0]), TypeError, "labels must be ints; received dtype float64"),
        (
            ([[0.5, 0.5]] * 2, [0, 2]),
            ValueError,
            "must be from 0 to 1; received 2 for video 1",
        ),
    ],
    ids=str,
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        top_k(*arguments)
