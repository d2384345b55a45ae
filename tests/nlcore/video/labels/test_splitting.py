"""An index divided into training and validation."""

from pathlib import Path

import pytest

from nlcore.video.labels import Index, Video, divided


def index_of(labels):
    videos = [Video(f"{n}.mp4", 9, 25.0, 64, 48, 1, 1, own) for n, own in enumerate(labels)]
    return Index("slowfast", ("a", "b", "c"), Path("/films"), tuple(videos))


def test_each_label_is_divided_and_no_video_is_lost():
    index = index_of([(0,)] * 10 + [(1,)] * 5 + [(2, 0)] * 2)
    for seed in range(20):
        training, validation = divided(index, 0.3, seed)
        assert training.names == validation.names == index.names
        assert training.root == validation.root == index.root
        counts = [sum(v.labels[0] == label for v in validation.videos) for label in range(3)]
        assert counts == [3, 2, 1]
        together = sorted(training.videos + validation.videos, key=index.videos.index)
        assert tuple(together) == index.videos
        assert list(training.videos) == sorted(training.videos, key=index.videos.index)


def test_a_seed_makes_one_division_and_another_seed_another():
    index = index_of([(0,)] * 30)
    first, again, other = (divided(index, 0.5, seed)[1] for seed in (1, 1, 2))
    assert first == again != other


def test_a_single_video_of_a_label_is_trained_with():
    training, validation = divided(index_of([(0,), (1,), (1,)]))
    assert training.videos[0].path == "0.mp4" and len(validation) == 1


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([(0,)] * 4, 1.0, "fraction must be between 0 and 1; received 1.0"),
        ([(0,), (1,)], 0.5, "a label of two videos at least, to be divided; received 2 videos of"),
        ([], 0.5, "received 0 videos of 0 labels"),
    ],
)
def test_what_cannot_be_divided(labels, fraction, message):
    with pytest.raises(ValueError, match=message):
        divided(index_of(labels), fraction)
