"""The picture of where a position looks: its geometry, its arrows, and the command."""

import json
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from safetensors.torch import save_file
from typer.testing import CliRunner

from nlcore.video import NetworkSpec, placement
from nlcore_torch import NonLocalBlock
from nlcore_torch.attend import UNTRAINED, app
from nlcore_torch.clips import cropped, normalized, read_clip
from nlcore_torch.figure import GAP, cell_centre, draw_responses
from nlcore_torch.models import Network
from nlcore_torch.responses import TopResponses, top_responses

SHAPE = (8, 24, 40)  # of the clip
FRAMES = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None], (*SHAPE, 3))


def top_of(places, weights=None):
    weights = weights or [1.0 / (n + 1) for n in range(len(places))]
    return TopResponses(torch.tensor([weights]), torch.tensor([places]))


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
    figure = draw_responses(FRAMES, (4, 4, 5), query, top_of(places), columns=columns)
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
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), top_of([(1, 1, 1)]), columns=columns)
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
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), top, title=title, columns=columns)
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
    figure = draw_responses(FRAMES, (2, 4, 5), (0, 0, 0), top_of([(1, 1, 1)]), title="a title")
    assert drawn(figure)[1] == ["frame 2", "frame 6"]
    assert figure.axes[0].get_title() == "a title"
    times = [0.04 * n for n in range(8)]
    figure = draw_responses(FRAMES, (2, 4, 5), (0, 0, 0), top_of([(1, 1, 1)]), times=times)
    assert drawn(figure)[1] == ["t = 0.08 s", "t = 0.24 s"]


@pytest.mark.parametrize("window", [(1, 1, 1), (1, 2, 2)])
def test_the_weight_on_itself_is_written(window):
    places = [(1, 2, 2), (1, 0, 2)]
    query = (1, 2, 2) if window == (1, 1, 1) else (1, 3, 3)  # of the same window
    top = top_of(places, [0.75, 0.25])
    figure = draw_responses(FRAMES, (4, 4, 5), query, top, window=window)
    assert len(drawn(figure)[0]) == 1
    assert "on itself 0.75, not drawn" in figure.axes[1].get_xlabel()
    figure = draw_responses(FRAMES, (4, 4, 5), (0, 0, 0), top, window=window)
    assert len(drawn(figure)[0]) == 2
    assert "not drawn" not in figure.axes[1].get_xlabel()


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [0.5, -0.5]])
def test_weights_of_any_sign(weights, tmp_path):
    places = [(0, 0, n) for n in range(len(weights))]
    figure = draw_responses(FRAMES, (4, 4, 5), (1, 1, 1), top_of(places, weights))
    figure.savefig(tmp_path / "figure.png")
    assert len(drawn(figure)[0]) == len(weights)


@pytest.mark.parametrize("subsample", [None, (1, 2, 2), (2, 1, 1)])
def test_arrows_of_a_block(subsample):
    torch.manual_seed(0)
    block = NonLocalBlock(4, subsample=subsample)
    x = torch.randn(1, 4, 4, 4, 4)
    top = top_responses(block, x, (3, 1, 2), 5)
    window = block.spec.pool
    frames = np.zeros((4, 4, 4, 3))  # a pixel is a cell
    figure = draw_responses(frames, x.shape[2:], (3, 1, 2), top, window=window, columns=1)
    arrows, _ = drawn(figure)
    down = figure.axes[0].images[1].get_extent()[3]  # from a frame to the next
    itself = [q - q % w for q, w in zip((3, 1, 2), window, strict=True)]
    ends = []
    for t, y, x in reversed(top.positions[0].tolist()):
        if [t, y, x] != itself:
            t += (window[0] - 1) // 2
            ends.append((x + window[2] / 2, t * down + y + window[1] / 2))
    assert [end for _, end in arrows] == pytest.approx(np.array(ends), rel=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": FRAMES[..., 0]}, r"frames must have shape \(T, H, W, 3\); received .*24, 40\)"),
        ({"sizes": (9, 4, 5)}, r"sizes must be three, from 1 to the clip's \(8, 24, 40\);.*9"),
        ({"sizes": (4, 5)}, "sizes must be three"),
        ({"query": (0, 4, 0)}, r"query must lie in \(4, 4, 5\); received \(0, 4, 0\)"),
        ({"query": (0, 0)}, r"query must lie in .*; received \(0, 0\)"),
        ({"window": (2, 2)}, r"window must have an entry for each of \(T, H, W\); received \(2, 2"),
        ({"top": top_of([(0, 0)])}, r"positions \(1, k, 3\); received \(1, 1\) and \(1, 1, 2\)"),
        ({"times": [0.0]}, "times must be of 8 frames; received 1"),
    ],
)
def test_errors_of_the_picture(arguments, message):
    given = {"frames": FRAMES, "sizes": (4, 4, 5), "query": (0, 0, 0), "top": top_of([(0, 0, 1)])}
    with pytest.raises(ValueError, match=message):
        draw_responses(**{**given, **arguments})


WIDE = (48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """24 frames of 48 x 64 at 10 a second, frame n of a grey of 10 n."""
    return written(tmp_path_factory.mktemp("video") / "grey.mkv")


def written(path, rotation=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = WIDE
        stream.pix_fmt = "bgr0"  # RGB without loss
        stream.options = {"g": "8"}  # a keyframe every 8
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for n in range(24):
            picture = np.full((*WIDE, 3), 10 * n, np.uint8)
            picture[:24, :32, 0] = 255  # a red upper left corner
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def greys(clip):
    return [int(frame[-1, -1, 1]) // 10 for frame in clip.frames]


@pytest.mark.parametrize(
    ("count", "every", "start", "numbers"),
    [
        (3, 1, 0.0, [0, 1, 2]),
        (4, 2, 0.5, [5, 7, 9, 11]),
        (2, 4, 1.9, [19, 23]),
        (2, 1, 1.85, [19, 20]),
    ],
)
def test_frames_of_a_clip(video, count, every, start, numbers):
    clip = read_clip(video, count, every, start, None)
    assert clip.frames.shape == (count, *WIDE, 3) and clip.frames.dtype == np.uint8
    assert greys(clip) == numbers
    assert clip.times == pytest.approx([n / 10 for n in numbers], abs=1e-3)  # Matroska's clock


def test_short_side(video):
    clip = read_clip(video, 1, 1, 0.0, 24)
    assert clip.frames.shape == (1, 24, 32, 3)


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_frames_are_turned(tmp_path, rotation, corner):
    clip = read_clip(written(tmp_path / "turned.mp4", rotation), 1, 1, 0.0, None)
    assert clip.frames.shape[1:3] == (WIDE if rotation == 180 else WIDE[::-1])
    assert clip.frames[0, *corner].tolist() == [255, 0, 0]


def test_the_middle_is_cropped_to_whole_positions():
    frames = np.broadcast_to(np.arange(100)[:, None], (1, 70, 100, 3))
    assert cropped(frames).shape == (1, 64, 96, 3)
    assert cropped(frames)[0, 0, [0, -1], 0].tolist() == [2, 97]
    assert cropped(frames, 64).shape == (1, 64, 64, 3)
    assert cropped(frames, 64)[0, 0, [0, -1], 0].tolist() == [18, 81]
    with pytest.raises(ValueError, match=r"32 pixels a side at least; received \(70, 100\), .*31"):
        cropped(frames, 31)


def test_normalized():
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    frames[1, 2, 3] = 1, 2, 172
    x = normalized(frames)
    assert x.shape == (1, 3, 2, 4, 5) and x.dtype == torch.float32
    assert x[0, :, 1, 2, 3].tolist() == torch.tensor([-113.75, -112.75, 57.25]).div(57.375).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be at least 1; received 0"),
        ({"every": 0}, "every must be at least 1; received 0"),
        ({"short_side": 0}, "short_side must be at least 1; received 0"),
        ({"start": -1.0}, "start must be at least 0 seconds; received -1.0"),
        (
            {"count": 5, "every": 6},
            r"grey.mkv must have 25 frames from 0.0 s on, of which 5 are taken; received 4 of them",
        ),
        ({"start": 9.0}, "received 0 of them"),
    ],
)
def test_errors_of_a_clip(video, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_clip(video, **{"count": 1, **arguments})


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text.mp4 must be a video; FFmpeg knows no such format"):
        read_clip(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError):
        read_clip(tmp_path / "none.mp4")


FIELDS = {"width": 1, "classes": 2, "temporal_strides": [2, 1, 1]}
SPEC = NetworkSpec(non_local=placement(50, 5), **FIELDS)
TINY = ("--fields", json.dumps(FIELDS), "--frames", "8", "--short-side", "64", "-k", "4")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def seen(monkeypatch):
    """What the command draws."""
    import nlcore_torch.attend

    calls = []

    def draw(*arguments, **options):
        calls.append((arguments, options))
        return draw_responses(*arguments, **options)

    monkeypatch.setattr(nlcore_torch.attend, "draw_responses", draw)
    return calls


def test_the_command(video, tmp_path, seen):
    torch.manual_seed(3)
    network = Network(SPEC, identity=False).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    output = tmp_path / "figure.png"
    result = invoke(
        video, "--weights", tmp_path / "weights.safetensors", "--output", output, *TINY,
        "--position", "1,3,4", "--start", "0.2",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "4 largest weights of position (1, 3, 4) in (4, 8, 8) at res3.3" in result.stdout
    assert imread(output).shape[2] == 4
    (((frames, sizes, query, top), options),) = seen
    clip = read_clip(video, 8, 2, 0.2, 64)
    assert np.array_equal(frames, cropped(clip.frames))
    assert (sizes, query) == ((4, 8, 8), (1, 3, 4))
    assert options["times"] == clip.times and options["window"] == (1, 2, 2)
    assert UNTRAINED not in options["title"]
    x = []
    block = network.get_submodule("res3.3.non_local")
    block.register_forward_pre_hook(lambda _, arguments: x.append(arguments[0]))
    with torch.no_grad():
        network(normalized(frames))
    expected = top_responses(block, x[0], query, 4)
    assert torch.equal(top.positions, expected.positions)
    assert torch.equal(top.weights, expected.weights)


def test_random_weights_are_said_to_be(video, tmp_path, seen):
    for seed in (0, 0, 1):
        result = invoke(video, "--output", tmp_path / "a.svg", *TINY, "--seed", seed)
        assert result.exit_code == 0, result.stderr
    assert all(UNTRAINED in options["title"] for _, options in seen)
    assert all(arguments[2] == (2, 4, 4) for arguments, _ in seen)  # the middle
    first, again, other = (arguments[3].weights for arguments, _ in seen)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_as_a_module(video, tmp_path):
    command = [sys.executable, "-m", "nlcore_torch.attend", str(video), *TINY]
    result = subprocess.run(
        [*command, "--output", str(tmp_path / "b.png")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "b.png").stat().st_size > 0
    result = subprocess.run(
        [*command, "--position", "9,0,0"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1] == (
        "nlcore_torch.attend: position must lie in (4, 8, 8); received (9, 0, 0)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--position", "1,2"), "--position must be T,H,W, three ints; received '1,2'"),
        (("--block", "res4.4"), "--block must be one of res3.1, res3.3, res4.1, res4.3, res4.5;"),
        (("--blocks", "0"), "--block must be one of none, by --blocks 0; received res3.3"),
        (("--blocks", "2"), "count must be one of (0, 1, 5, 10) for ResNet-50; received 2"),
        (("--fields", "[1]"), "--fields must be a JSON object; received [1]"),
        (("--fields", '{"wide": 3}'), "unexpected keyword argument 'wide'"),
        (("--output", "none/figure.png"), "in a folder that exists; received none/figure.png"),
        (("--output", "figure.txt"), "--output must be a file of"),
        (("--device", "abacus"), "--device must be one that PyTorch has; received abacus"),
        (("-k", "1000"), "k must be from 1 to 64, the positions j; received 1000"),
        (("--weights", "none.safetensors"), "none.safetensors"),
        (("--start", "2.3"), "must have 15 frames from 2.3 s on, of which 8 are taken; received 1"),
    ],
)
def test_errors_of_the_command(video, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(video, *TINY, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights(video, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"none")
    result = invoke(video, "--weights", file, *TINY)
    assert result.exit_code == 2
    assert "weights.safetensors: expected a .safetensors file of arrays" in result.stderr
    weights = Network(SPEC).state_dict()
    del weights["res3.1.non_local.phi.weight"]
    save_file(weights, file)
    result = invoke(video, "--weights", file, *TINY)
    assert result.exit_code == 2
    assert "weight 'res3.1.non_local.phi.weight' is missing: expected shape (4, 8)" in result.stderr
