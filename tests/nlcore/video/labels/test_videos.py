"""Labels of clips, and frames of the videos of an index."""

import numpy as np
import pytest
from films import pictures, write_film, write_images

from nlcore.video.labels.videos import Index, Video, labels_of
from nlcore.video.reading import read_frames

PARTS = ((3, 0, 9), (3, 20, 29), (5, 9, 20), (7, 99, 99))


def video(**more):
    return Video("a.mp4", 100, 24.0, 64, 48, 1, 1, **more)


@pytest.mark.parametrize(
    ("indices", "labels"),
    [
        ([0], (3,)),
        ([9], (3, 5)),
        ([10, 11], (5,)),
        ([8, 30], (3,)),
        ([30], ()),
        ([50, 99, 50], (7,)),
        (range(0, 64, 2), (3, 5)),
        (np.arange(21, 100), (3, 7)),
        (None, (3, 5, 7)),
    ],
)
def test_labels_of_frames(indices, labels):
    assert labels_of(video(intervals=PARTS), indices) == labels
    frame_by_frame = {
        label
        for label, first, last in PARTS
        for k in (range(100) if indices is None else indices)
        if first <= k <= last
    }
    assert set(labels) == frame_by_frame


def test_labels_of_the_whole_video():
    assert labels_of(video(labels=(4, 2)), [50]) == labels_of(video(labels=(4, 2))) == (4, 2)
    assert labels_of(video(intervals=())) == ()


@pytest.mark.parametrize("indices", [[], [-1], [100]])
def test_errors_of_labels(indices):
    with pytest.raises(ValueError, match=r"frames of a.mp4 must be at least one, from 0 to 99"):
        labels_of(video(intervals=PARTS), indices)


def test_frames_of_an_index(tmp_path):
    film = write_film(tmp_path / "film.mp4", pictures(30), options={"g": "6"})
    images = write_images(tmp_path / "film", pictures(4))
    names = (("", 6, 1, 2, ".jpg"), ("", 6, 4, 4, ".jpg"))
    videos = (
        Video("film.mp4", 30, 24.0, 64, 48, 1, 1, (0,)),
        Video("film", 3, 24.0, 64, 48, 1, 1, (0,), images=names),
        Video("film.mp4", 40, 24.0, 64, 48, 1, 1, (0,)),
    )
    index = Index("slowfast", ("run",), tmp_path, videos)
    assert len(index) == 3
    np.testing.assert_array_equal(index.read(0, [29, 2]), read_frames(film, [29, 2]))
    expected = np.concatenate([read_frames(image.parent, [3, 0]) for image in images[:1]])
    np.testing.assert_array_equal(index.read(1, [2, 0]), expected)
    with pytest.raises(ValueError, match=r"film.mp4 must have 40 frames; received 30"):
        index.read(2, [35])
