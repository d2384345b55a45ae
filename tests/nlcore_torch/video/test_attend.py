"""Where a position of a video looks: arrows of a block, and the command."""

import json
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import save_file
from typer.testing import CliRunner

from nlcore.video import NetworkSpec, placement, recipe
from nlcore.video.figure import draw_responses
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.reading import cropped, normalized, read_clip
from nlcore.video.running import Checkpoint, write_checkpoint
from nlcore.video.running.learner import LearnerState
from nlcore.video.sampling import dialect
from nlcore.video.sampling.cropping import whole
from nlcore_torch import NonLocalBlock, top_responses
from nlcore_torch.video.attend import UNTRAINED, app
from nlcore_torch.video.network import Network

WIDE = (48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """24 frames of 48 x 64 at 10 a second, frame n of a grey of 10 n."""
    path = tmp_path_factory.mktemp("video") / "grey.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = WIDE
        stream.pix_fmt = "bgr0"  # RGB without loss
        for n in range(24):
            picture = np.full((*WIDE, 3), 10 * n, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("subsample", [None, (1, 2, 2), (2, 1, 1)])
def test_arrows_of_a_block(subsample):
    torch.manual_seed(0)
    block = NonLocalBlock(4, subsample=subsample)
    x = torch.randn(1, 4, 4, 4, 4)
    top = top_responses(block, x, (3, 1, 2), 5)
    window = block.spec.pool
    frames = np.zeros((4, 4, 4, 3))  # a pixel is a cell
    numbers = top.weights[0].numpy(), top.positions[0].numpy()
    figure = draw_responses(frames, x.shape[2:], (3, 1, 2), *numbers, window=window, columns=1)
    arrows = drawn(figure)
    down = figure.axes[0].images[1].get_extent()[3]  # from a frame to the next
    itself = [q - q % w for q, w in zip((3, 1, 2), window, strict=True)]
    ends = []
    for t, y, x in reversed(top.positions[0].tolist()):
        if [t, y, x] != itself:
            t += (window[0] - 1) // 2
            ends.append((x + window[2] / 2, t * down + y + window[1] / 2))
    assert [end for _, end in arrows] == pytest.approx(np.array(ends), rel=1e-13)


def drawn(figure):
    """Of each arrow (start, end), the largest weight's last."""
    notes = figure.axes[0].texts
    return [(note.get_position(), note.xy) for note in notes if note.arrow_patch is not None]


FIELDS = {"width": 1, "classes": 2, "temporal_strides": [2, 1, 1]}
SPEC = NetworkSpec(non_local=placement(50, 5), **FIELDS)
TINY = ("--fields", json.dumps(FIELDS), "--frames", "8", "--short-side", "64", "-k", "4")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def seen(monkeypatch):
    """What the command draws."""
    import nlcore_torch.video.attend

    calls = []

    def draw(*arguments, **options):
        calls.append((arguments, options))
        return draw_responses(*arguments, **options)

    monkeypatch.setattr(nlcore_torch.video.attend, "draw_responses", draw)
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
    assert "4 largest weights of position (1, 3, 4) in (4, 8, 10) at res3.3" in result.stdout
    assert imread(output).shape[2] == 4
    (((frames, sizes, query, weights, positions), options),) = seen
    clip = read_clip(video, 8, 2, 0.2, 64)
    assert np.array_equal(frames, cropped(clip.frames, stride=16))
    assert (sizes, query) == ((4, 8, 10), (1, 3, 4))
    assert options["times"] == clip.times and options["window"] == (1, 2, 2)
    assert UNTRAINED not in options["title"]
    x = []
    block = network.get_submodule("res3.3.non_local")
    block.register_forward_pre_hook(lambda _, arguments: x.append(arguments[0]))
    with torch.no_grad():
        network(torch.from_numpy(normalized(frames)))
    expected = top_responses(block, x[0], query, 4)
    np.testing.assert_array_equal(positions, expected.positions[0])
    np.testing.assert_array_equal(weights, expected.weights[0])


def test_random_weights_are_said_to_be(video, tmp_path, seen):
    for seed in (0, 0, 1):
        result = invoke(video, "--output", tmp_path / "a.svg", *TINY, "--seed", seed)
        assert result.exit_code == 0, result.stderr
    assert all(UNTRAINED in options["title"] for _, options in seen)
    assert all(arguments[2] == (2, 4, 5) for arguments, _ in seen)  # the middle
    first, again, other = (arguments[3].tolist() for arguments, _ in seen)
    assert first == again != other


def test_as_a_module(video, tmp_path):
    command = [sys.executable, "-m", "nlcore_torch.video.attend", str(video), *TINY]
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
        "nlcore-video attend: position must be an index into (4, 8, 10); received (9, 0, 0)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--position", "1,2"), "--position must be T,H,W, three ints; received '1,2'"),
        (("--block", "res4.4"), "--block must be one of: res3.1, res3.3, res4.1, res4.3, res4.5 ("),
        (("--blocks", "0"), "the network must have non-local blocks; received one without"),
        (("--blocks", "2"), "count must be one of (0, 1, 5, 10) for ResNet-50; received 2"),
        (("--fields", "[1]"), "--fields must be a JSON object; received [1]"),
        (("--fields", '{"wide": 3}'), "unexpected keyword argument 'wide'"),
        (("--output", "none/figure.png"), "in a folder that exists; received none/figure.png"),
        (("--output", "figure.txt"), "--output must be a file with a suffix in"),
        (
            ("--device", "abacus"),
            "--device must be a device that PyTorch supports; received abacus",
        ),
        (("--frames", "0"), "count must be at least 1; received 0"),
        (("--every", "0"), "every must be at least 1; received 0"),
        (("--depth", "0"), "depth must be"),
        (("-k", "1000"), "k must be from 1 to 80, the number of positions j; received 1000"),
        (("--crop", "999"), "pixels, the frames' smaller side; received 999"),
        (("--weights", "none.safetensors"), "none.safetensors"),
        (
            ("--start", "2.3"),
            "must have 15 frames from 2.3 s on, to take 8 of them; received enough for 1",
        ),
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
    assert "weights.safetensors: expected a file of weights: a .safetensors file" in result.stderr
    weights = Network(SPEC).state_dict()
    del weights["res3.1.non_local.phi.weight"]
    save_file(weights, file)
    result = invoke(video, "--weights", file, *TINY)
    assert result.exit_code == 2
    assert "weight 'res3.1.non_local.phi.weight' is missing: expected shape (4, 8)" in result.stderr
    assert "or pass its run or checkpoint instead" in result.stderr


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A film of 20 frames whose colours and rows and columns differ."""
    path = tmp_path_factory.mktemp("video") / "coloured.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *WIDE, "bgr0"
        for _ in range(20):
            picture = rng.integers(0, (256, 128, 64), (*WIDE, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def run(tmp_path):
    """A run of a network that has the shapes of the default one, but not its function."""
    block = {"pairwise": "dot_product", "scale": 0.5}
    network = {**FIELDS, "non_local": ("res4.5",), "block": block, "inflation": "none"}
    network["head"] = "mean"
    mine = recipe(
        "slowfast_scratch",
        network=network,
        frames=6,
        stride=3,
        test_short_side=72,
        test_crop=64,
        sampling="mmaction2",
    )
    weights = initial_network_weights(mine.network, 1, block_identity=False)
    checkpoint = Checkpoint(1, mine, 0, LearnerState(weights, {}, {}))
    return write_checkpoint(tmp_path / "run" / "checkpoints", checkpoint)


@pytest.mark.parametrize("given", ["run", "checkpoint", "weights"])
def test_a_run_states_its_network_and_clips(coloured, tmp_path, seen, run, given):
    path = {"run": run.parents[1], "checkpoint": run, "weights": run / "weights.safetensors"}[given]
    result = invoke(coloured, "--weights", path, "--output", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    assert "18 largest weights of position (1, 2, 3) in (3, 4, 6) at res4.5, dot_product" in (
        " ".join(result.stdout.split())
    )
    (((frames, _, _, weights, positions), _),) = seen
    clip = read_clip(coloured, 6, 3, 0.0, 72)
    assert np.array_equal(frames, cropped(clip.frames, stride=32))
    network, x = Network.from_run(run), []
    assert not network.training
    block = network.get_submodule("res4.5.non_local")
    block.register_forward_pre_hook(lambda _, arguments: x.append(arguments[0]))
    pixels = dialect("mmaction2").pixels(frames, whole(frames.shape[1:3]))
    with torch.no_grad():
        network(torch.from_numpy(pixels[None]))
    expected = top_responses(block, x[0], (1, 2, 3), 18)
    np.testing.assert_array_equal(positions, expected.positions[0])
    np.testing.assert_array_equal(weights, expected.weights[0])


def test_options_come_before_the_run(coloured, tmp_path, seen, run):
    options = ("--frames", "4", "--every", "1", "--short-side", "64")
    result = invoke(coloured, "--weights", run, "--output", tmp_path / "a.png", *options)
    assert result.exit_code == 0, result.stderr
    (((frames, *_), _),) = seen
    assert np.array_equal(frames, cropped(read_clip(coloured, 4, 1, 0.0, 64).frames, stride=32))


def test_a_block_of_res3_sees_all_of_a_frame_of_40_pixels(video, tmp_path, seen):
    fields = json.dumps({**FIELDS, "block": {"subsample": None}})
    tiny = [*TINY, "--fields", fields, "--short-side", "40"]
    result = invoke(video, "--output", tmp_path / "a.png", *tiny, "--position", "1,4,4")
    assert result.exit_code == 0, result.stderr
    (((frames, sizes, *_), _),) = seen
    assert frames.shape[1:3] == (40, 48) and sizes[1:] == (5, 6)  # 53 columns of pixels


def test_a_run_has_the_blocks_that_it_has(coloured, run):
    result = invoke(coloured, "--weights", run, "--block", "res3.1")
    assert result.exit_code == 2
    assert "--block must be one of: res4.5; received res3.1" in result.stderr


def test_a_run_leaves_nothing_to_describe(video, run):
    result = invoke(video, "--weights", run, *TINY)
    assert result.exit_code == 2
    assert "the run states its network; leave out --fields" in result.stderr


def test_as_many_weights_as_there_are(video, tmp_path, seen):
    arguments = [a for a in TINY if a not in ("-k", "4")]
    result = invoke(video, "--output", tmp_path / "a.png", *arguments, "--block", "res4.1",
                    "--short-side", "32")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (((_, sizes, *_, positions), _),) = seen
    assert len(positions) == sizes[0] * (sizes[1] // 2) * (sizes[2] // 2) < 20
