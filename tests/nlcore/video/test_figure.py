"""The picture of where a position looks: its geometry, its arrows, its labels."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need nlcore[video]")

from matplotlib.patches import Rectangle

from nlcore.video.figure import GAP, cell_centre, draw_responses

SHAPE = (8, 24, 40)  # of the clip
FRAMES = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None], (*SHAPE, 3))


def top_of(places, weights=None):
    weights = weights or [1.0 / (n + 1) for n in range(len(places))]
    return np.array(weights), np.array(places)


def drawn(figure):
    """Of each arrow (start, end), the largest weight's last; and the text on the frames."""
    notes = figure.axes[0].texts
    arrows = [(note.get_position(), note.xy) for note in notes if note.arrow_patch is not None]
    return arrows, [note.get_text() for note in notes if note.arrow_patch is None]


@pytest.mark.parametrize(
    ("place", "window", "centre"),
    [
        ((0, 0, 0), (1, 1, 1), (0, 3.0, 4.0)),  # cells are of 2 frames, 6 x 8 pixels
        ((3, 3, 4), (1, 1, 1), (3, 21.0, 36.0)),
        ((1, 2, 2), (1, 2, 2), (1, 18.0, 24.0)),  # where four cells meet
        ((2, 0, 0), (2, 1, 3), (2, 3.0, 12.0)),
    ],
)
def test_centre_of_cells(place, window, centre):
    assert cell_centre(place, window, (4, 4, 5), SHAPE) == centre


@pytest.mark.parametrize("columns", [1, 2, 3, 9])
def test_arrows_end_at_the_centres(columns):
    query, places = (1, 2, 3), [(3, 0, 4), (0, 3, 1), (1, 2, 2)]
    figure = draw_responses(FRAMES, (4, 4, 5), query, *top_of(places), columns=columns)
    axes = figure.axes[0]
    corners = [image.get_extent()[::3] for image in axes.images]  # (x, y) of each frame

    def point(place):
        t, y, x = cell_centre(place, (1, 1, 1), (4, 4, 5), SHAPE)
        return corners[t][0] + x, corners[t][1] + y

    arrows, _ = drawn(figure)
    assert arrows == [(point(query), point(place)) for place in reversed(places)]
    (mark,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert mark.get_center() == pytest.approx(point(query), rel=1e-15)
    assert (mark.get_width(), mark.get_height()) == (8.0, 6.0)


@pytest.mark.parametrize(("columns", "rows"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_frames_are_in_reading_order_and_apart(columns, rows):
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), *top_of([(1, 1, 1)]), columns=columns)
    extents = [tuple(image.get_extent()) for image in figure.axes[0].images]
    assert [image.get_array()[0, 0, 0] for image in figure.axes[0].images] == [1, 3, 5, 7]
    places = [(top, left) for left, _, _, top in extents]
    assert places == sorted(places) and len(set(places)) == 4
    assert len({top for top, _ in places}) == rows
    for left, right, bottom, top in extents:
        assert (right - left, bottom - top) == pytest.approx((40, 24), rel=1e-13)
        for other in extents:
            apart = other[0] >= right or other[1] <= left or other[3] >= bottom or other[2] <= top
            assert apart or other == (left, right, bottom, top)


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("title", ["", "one line", "one line\nanother"])
def test_nothing_is_clipped_and_frames_are_as_wide_as_the_picture(columns, title):
    top = top_of([(1, 1, 1), (3, 3, 4), (0, 0, 0)])
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), *top, title=title, columns=columns)
    figure.canvas.draw()
    whole = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1
    frames, gap = figure.axes[0].get_window_extent(), GAP * figure.dpi
    assert frames.x0 == pytest.approx(gap, rel=1e-12)
    assert frames.x1 == pytest.approx(whole.x1 - gap, rel=1e-12)
    room = figure.axes[0].get_position(original=True)  # equal aspect leaves none of it empty
    assert room.bounds == pytest.approx(figure.axes[0].get_position().bounds, rel=1e-12)


def test_labels():
    figure = draw_responses(FRAMES, (2, 4, 5), (0, 0, 0), *top_of([(1, 1, 1)]), title="a title")
    assert drawn(figure)[1] == ["frame 2", "frame 6"]
    assert figure.axes[0].get_title() == "a title"
    times = [0.04 * n for n in range(8)]
    figure = draw_responses(FRAMES, (2, 4, 5), (0, 0, 0), *top_of([(1, 1, 1)]), times=times)
    assert drawn(figure)[1] == ["t = 0.08 s", "t = 0.24 s"]


@pytest.mark.parametrize("window", [(1, 1, 1), (1, 2, 2)])
def test_the_weight_on_itself_is_written(window):
    places = [(1, 2, 2), (1, 0, 2)]
    query = (1, 2, 2) if window == (1, 1, 1) else (1, 3, 3)  # of the same window
    top = top_of(places, [0.75, 0.25])
    figure = draw_responses(FRAMES, (4, 4, 5), query, *top, window=window)
    assert len(drawn(figure)[0]) == 1
    assert "on itself 0.75, not drawn" in figure.axes[1].get_xlabel()
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), *top, window=window)
    assert len(drawn(figure)[0]) == 2
    assert "not drawn" not in figure.axes[1].get_xlabel()


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [0.5, -0.5]])
def test_weights_of_any_sign(weights, tmp_path):
    places = [(0, 0, n) for n in range(len(weights))]
    figure = draw_responses(FRAMES, (4, 4, 5), (1, 1, 1), *top_of(places, weights))
    figure.savefig(tmp_path / "figure.png")
    assert len(drawn(figure)[0]) == len(weights)
    if weights == [1.0]:
        assert figure.axes[1].get_xlim() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": FRAMES[..., 0]}, r"frames must have shape \(T, H, W, 3\); received .*24, 40\)"),
        ({"sizes": (9, 4, 5)}, r"sizes must be three ints from 1 to \(8, 24, 40\);.*9"),
        ({"sizes": (4, 5)}, "sizes must be three"),
        ({"query": (0, 4, 0)}, r"query must be an index into \(4, 4, 5\); received \(0, 4, 0\)"),
        ({"query": (0, 0)}, r"query must be .*; received \(0, 0\)"),
        ({"window": (2, 2)}, r"window must have an entry for each of \(T, H, W\); received \(2, 2"),
        ({"positions": np.zeros((1, 2))}, r"received shapes \(1,\) and \(1, 2\)"),
        ({"weights": np.ones((1, 1))}, r"shapes \(k,\) and .* received shapes \(1, 1\) and"),
        ({"times": [0.0]}, "times must have one entry per frame, 8; received 1"),
    ],
)
def test_errors_of_the_picture(arguments, message):
    given = {"frames": FRAMES, "sizes": (4, 4, 5), "query": (0, 0, 0)}
    given |= dict(zip(("weights", "positions"), top_of([(0, 0, 1)]), strict=True))
    with pytest.raises(ValueError, match=message):
        draw_responses(**{**given, **arguments})


def test_one_picture_has_no_number():
    arrow = np.array([[0, 0, 0]])
    figure = draw_responses(np.zeros((1, 8, 8, 3)), (1, 2, 2), (0, 1, 1), np.ones(1), arrow)
    assert [text.get_text() for text in figure.axes[0].texts] == [""]  # of the arrow
