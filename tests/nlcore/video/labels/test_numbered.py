"""Names as runs, and back."""

import pytest

from nlcore.video.labels.numbered import names_of, runs_of


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([], 0),
        ([f"A-{n:06d}.jpg" for n in range(1, 1001)], 1),
        ([f"{n}.jpg" for n in range(8, 12)], 1),
        (["9.jpg", "010.jpg"], 2),  # the second would be 10.jpg
        (["099.jpg", "100.jpg"], 1),
        (["001.jpg", "003.jpg", "002.jpg", "002.jpg"], 4),
        (["a.jpg", "b1.jpg", "b2.JPG", "1b3.jpg"], 4),
        (["x", "x"], 2),
    ],
)
def test_runs(names, count):
    runs = runs_of(names)
    assert len(runs) == count
    assert names_of(runs) == names
