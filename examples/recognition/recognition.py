"""Which way does the camera move? A narrow non-local network learns it from films made here.

    python examples/recognition/recognition.py [--small] [--films-only] [--out DIR]

Six classes: the camera moves left, right, up or down over a photograph, or zooms in or out. The
films are made of scikit-image's photographs and encoded. No photograph of the test is in the
training, so only the motion tells the class. A single frame does not tell it at all.

The films are indexed, a non-local I3D of 8 channels is trained on the CPU, and ten views of each
test film are classified, all by the command nlcore-video. Clips are not mirrored, as a mirrored
"left" is a "right".

--films-only makes the films, a picture of some of them (films.jpg) and the recipe, and stops there:
docs/tutorial.md takes the next steps one by one.

Needs PyTorch, av, matplotlib, rich, safetensors, typer and scikit-image. It takes some minutes, and
with --small, which trains for fewer iterations, about two.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.transform import resize

TRAINING = (
    *("astronaut", "brick", "camera", "chelsea", "coins", "grass", "immunohistochemistry"),
    *("moon", "page", "rocket"),
)
TEST = ("clock", "coffee", "gravel", "hubble_deep_field", "text")
#: Name of a class -> rows and columns that the camera moves per frame, and the factor of the zoom.
MOVES = {
    "down": (2.0, 0.0, 1.0),
    "left": (0.0, -2.0, 1.0),
    "right": (0.0, 2.0, 1.0),
    "up": (-2.0, 0.0, 1.0),
    "zoom_in": (0.0, 0.0, 0.95),
    "zoom_out": (0.0, 0.0, 1 / 0.95),
}
FRAMES, SIDE = 24, 72  # of a film; frames are square
COMMAND = "from nlcore.video.cli import main; main()"


def photograph(name: str) -> np.ndarray:
    """A photograph in RGB, uint8, whose shorter side has 256 pixels."""
    picture = getattr(data, name)()
    picture = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]
    scale = 256 / min(picture.shape[:2])
    size = tuple(round(scale * n) for n in picture.shape[:2])
    return np.round(255 * resize(picture, size, anti_aliasing=True)).astype(np.uint8)


def film(picture: np.ndarray, move: tuple[float, float, float], rng: np.random.Generator):
    """The frames (SIDE, SIDE, 3) of a camera that moves over a picture."""
    speed = rng.uniform(0.7, 1.3)
    rows, columns, zoom = move[0] * speed, move[1] * speed, move[2] ** speed
    time = np.arange(FRAMES) - (FRAMES - 1) / 2
    side = SIDE * rng.uniform(0.8, 1.2) * zoom**time  # (T,) pixels of the picture that are seen
    travel = np.stack([rows * time, columns * time], -1)  # (T, 2)
    reach = np.abs(travel).max(0) + side.max() / 2
    size = np.array(picture.shape[:2])
    centres = rng.uniform(reach, size - reach) + travel
    for centre, seen in zip(centres, side, strict=True):
        offsets = (np.arange(SIDE) + 0.5) / SIDE * seen - seen / 2
        y, x = (np.clip(c + offsets, 0, n - 1.001) for c, n in zip(centre, size, strict=True))
        yield bilinear(picture, y, x)


def bilinear(picture: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The picture at rows y and columns x, which are between pixels."""
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top)[:, None, None], (x - left)[None, :, None]
    above = picture[top[:, None], left] * (1 - right) + picture[top[:, None], left + 1] * right
    below = picture[top[:, None] + 1, left] * (1 - right)
    below = below + picture[top[:, None] + 1, left + 1] * right
    return np.round(above * (1 - down) + below * down).astype(np.uint8)


def encode(path: Path, frames) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "18"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def make_films(folder: Path, names: tuple[str, ...], each: int, seed: int) -> None:
    """`each` films of every class and photograph, in one folder per class."""
    rng = np.random.default_rng(seed)
    for move in MOVES:
        (folder / move).mkdir(parents=True)
    for name in names:
        picture = photograph(name)
        for move, how in MOVES.items():
            for number in range(each):
                encode(folder / move / f"{name}{number}.mp4", film(picture, how, rng))


def draw_films(films: list[Path], picture: Path) -> None:
    """Six frames of each film, a row for each."""
    figure, axes = plt.subplots(len(films), 6, figsize=(7.2, 7.6), layout="constrained")
    for film, row in zip(films, axes, strict=True):
        with av.open(str(film)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        for axis, time in zip(row, np.linspace(0, FRAMES - 1, 6).astype(int), strict=True):
            axis.imshow(frames[time])
            axis.set(xticks=[], yticks=[], xlabel=f"frame {time}" if film is films[-1] else "")
        row[0].set_ylabel(film.parent.name)
    figure.savefig(picture, dpi=110)


def command(*arguments: object) -> None:
    """Run nlcore-video."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ nlcore-video {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-c", COMMAND, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a network to tell camera moves.")
    parser.add_argument("--small", action="store_true", help="fewer iterations")
    parser.add_argument("--films-only", action="store_true", help="make films and recipe, and stop")
    parser.add_argument("--workers", type=int, default=1, help="processes that load clips")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    args = parser.parse_args()

    out, iterations = args.out, 150 if args.small else 450
    shutil.rmtree(out, ignore_errors=True)
    make_films(out / "training", TRAINING, each=4, seed=1)
    make_films(out / "test", TEST, each=2, seed=2)
    draw_films([out / "test" / move / "coffee0.mp4" for move in MOVES], out / "films.jpg")
    recipe = {
        "preset": "paper",
        "network": {
            "width": 8,
            "classes": len(MOVES),
            "dropout": 0.0,
            "temporal_strides": [1, 1, 2],  # clips are short
        },
        "frames": 8,
        "stride": 1,
        "jitter": [64, 72],
        "crop": 64,
        "flip": False,
        "batch": 16,
        "clips_per_device": 16,
        "iterations": iterations,
        "steps": [iterations * 2 // 3],
        "factors": [1.0, 0.1],
        "initial": "random",
        "precise_statistics": 5,
        "test_short_side": 64,
    }
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2))
    if args.films_only:
        return
    for split in ("training", "test"):
        index = out / f"{split}.jsonl"
        command("index", "pytorchvideo", out / split, index, "--workers", 0)
    run = out / "run"
    command(
        *("train", out / "training.jsonl", "--validation", out / "test.jsonl"),
        *("--recipe", out / "recipe.json", "--output", run),
        *("--every", iterations // 5, "--workers", args.workers, "--device", "cpu"),
    )
    command("evaluate", run, out / "test.jsonl", "--workers", args.workers, "--device", "cpu")
    command("curves", run, "--output", out / "curves.png")
    top1 = json.loads((run / "evaluation" / "metrics.json").read_text())["top1"]
    print(f"\ntop-1 accuracy on films of other photographs: {top1:.1%}; chance is 1/{len(MOVES)}")


if __name__ == "__main__":
    main()
