"""Mean average precision by dialect, by hand and against the projects' own functions."""

import math
import re

import numpy as np
import pytest

from nlcore.video.metrics import (
    PRECISION_DIALECTS,
    average_precisions,
    mean_average_precision,
)

NAMES = tuple(PRECISION_DIALECTS)
#: Positives at ranks 1 and 3 of four videos: (1 + 2/3) / 2.
SCORES = np.array([[0.9], [0.8], [0.7], [0.6]])
TARGETS = np.array([[1], [0], [1], [0]])


def drawn(seed, ties=False, videos=80, classes=6, empty=()):
    rng = np.random.default_rng(seed)
    scores = rng.random((videos, classes))
    targets = (rng.random((videos, classes)) < 0.3).astype(int)
    targets[:, list(empty)] = 0
    targets[~targets.any(axis=1), 0] = 1  # in Charades' dialect, videos without a label come last
    return scores.round(1) if ties else scores, targets


def test_the_dialects():
    assert NAMES == ("charades", "slowfast", "mmaction2", "scikit-learn")
    assert all(known.source for known in PRECISION_DIALECTS.values())


@pytest.mark.parametrize("name", NAMES)
def test_by_hand(name):
    targets = np.hstack([TARGETS, 1 - TARGETS])  # every video has a label
    expected = [(1 + 2 / 3) / 2, (2 / 4 + 1 / 2) / 2]
    found = average_precisions(np.hstack([SCORES, SCORES]), targets, name)
    np.testing.assert_allclose(found, expected, rtol=4 * 2**-53)  # one sum of two quotients
    mean = mean_average_precision(np.hstack([SCORES, SCORES]), targets, name)
    assert mean == pytest.approx(np.mean(expected), rel=4 * 2**-53)


@pytest.mark.parametrize("name", NAMES)
def test_without_ties_all_dialects_agree(name):
    scores, targets = drawn(0)
    found = average_precisions(scores, targets, name)
    # both are sums of up to 80 quotients in different orders
    np.testing.assert_allclose(found, average_precisions(scores, targets), rtol=80 * 2**-53)


def test_ties_keep_their_order_or_are_one_threshold():
    scores = np.zeros((4, 1))
    for targets, kept in (([1, 1, 0, 0], 1.0), ([0, 0, 1, 1], (1 / 3 + 2 / 4) / 2)):
        column = np.array(targets)[:, None]
        both = np.hstack([column, 1 - column])  # every video has a label
        found = average_precisions(np.hstack([scores, scores]), both)
        assert found[0] == pytest.approx(kept, rel=4 * 2**-53)
        for name in ("slowfast", "mmaction2", "scikit-learn"):
            assert average_precisions(scores, column, name)[0] == 0.5  # the fraction of positives


def test_an_empty_class():
    scores, targets = drawn(1, classes=4, empty=[2])
    mean = np.mean(average_precisions(scores, targets, "slowfast")[[0, 1, 3]])
    assert math.isnan(mean_average_precision(scores, targets, "charades"))
    assert mean_average_precision(scores, targets, "slowfast") == mean
    assert mean_average_precision(scores, targets, "mmaction2") == pytest.approx(mean, rel=1e-14)
    assert mean_average_precision(scores, targets, "scikit-learn") == pytest.approx(0.75 * mean)
    assert np.isnan(average_precisions(scores, targets, "charades")).tolist() == [0, 0, 1, 0]
    assert average_precisions(scores, targets, "scikit-learn")[2] == 0


def test_only_empty_classes():
    scores, targets = np.ones((3, 2)), np.zeros((3, 2))
    results = {name: mean_average_precision(scores, targets, name) for name in NAMES}
    assert [name for name in NAMES if math.isnan(results[name])] == ["charades", "mmaction2"]
    assert results["slowfast"] == results["scikit-learn"] == 0.0


def test_videos_without_a_label_come_last_in_charades():
    scores = np.array([[0.9], [0.8]])
    targets = np.array([[0], [1]])
    assert mean_average_precision(scores, targets, "charades") == 1.0
    assert mean_average_precision(scores, targets, "scikit-learn") == 0.5


def test_minus_infinity_is_a_score():
    scores = np.array([[-np.inf], [-np.inf], [0.5]])
    targets = np.array([[1], [0], [1]])
    # thresholds 0.5 and -infinity: 1 x 1/2 + 2/3 x 1/2
    assert mean_average_precision(scores, targets, "slowfast") == pytest.approx(5 / 6, rel=2**-51)


@pytest.mark.filterwarnings("ignore:No positive class found:UserWarning")
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("empty", [(), (1, 4)])
def test_equal_to_scikit_learn(ties, empty):
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(20):
        scores, targets = drawn(seed, ties, empty=empty)
        theirs = metrics.average_precision_score(targets, scores, average=None)
        np.testing.assert_array_equal(average_precisions(scores, targets, "scikit-learn"), theirs)
        assert mean_average_precision(scores, targets, "scikit-learn") == np.mean(theirs)
        kept = targets.any(axis=0)
        slowfast = metrics.average_precision_score(targets[:, kept], scores[:, kept], average=None)
        assert mean_average_precision(scores, targets, "slowfast") == np.mean(slowfast)
        # and where the definitions differ, the numbers do
        ours = mean_average_precision(scores, targets, "charades")
        assert (ours == pytest.approx(np.mean(theirs), rel=1e-12)) == (not ties and not empty)


@pytest.mark.filterwarnings("ignore:No positive samples found:UserWarning")
def test_equal_to_torchmetrics():
    """torchmetrics computes in float32, in which these scores are exact."""
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    scores, targets = drawn(0, empty=[1])
    scores = (scores * 16).round() / 16
    theirs = classification.multilabel_average_precision(
        torch.tensor(scores), torch.tensor(targets), scores.shape[1], average=None
    )
    ours = average_precisions(scores, targets, "scikit-learn")
    # a sum of up to 17 products of quotients
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=2 * 17 * 2**-24, atol=0)
    assert theirs[1] == ours[1] == 0


@pytest.mark.parametrize(
    ("scores", "targets", "dialect", "message"),
    [
        (SCORES, TARGETS, "torch", f"dialect must be one of {NAMES}; received 'torch'"),
        (SCORES, TARGETS[:2], "charades", "targets must have shape (4, 1); received shape (2, 1)"),
        (SCORES, 2 * TARGETS, "charades", "targets must be 0 or 1; received 2 for video 0"),
        (SCORES * np.nan, TARGETS, "charades", "scores must not be NaN; received NaN for video 0"),
    ],
    ids=["dialect", "shape", "targets", "nan"],
)
def test_errors(scores, targets, dialect, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mean_average_precision(scores, targets, dialect)
