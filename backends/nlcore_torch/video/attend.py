"""python -m nlcore_torch.video.attend: draw the largest weights of one position of a video."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from nlcore.checkpoints import read_arrays
from nlcore.video import NetworkSpec, placement
from nlcore_torch.attention_weights import top_responses
from nlcore_torch.insertion import NAME, non_local_blocks
from nlcore_torch.video.network import Network, ResidualBlock

try:
    import typer
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.progress import Progress

    from nlcore.video.figure import draw_responses
    from nlcore.video.reading import cropped, normalized, read_clip
except ImportError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"nlcore_torch.video.attend needs {error.name}: pip install 'nlcore[torch,video]'")

app = typer.Typer(add_completion=False)
console = Console(stderr=True)

UNTRAINED = "Untrained: the weights of this network are random"


Video = Annotated[Path, typer.Argument(help="Any file that FFmpeg reads.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Weights of the network by nlcore's names, a .safetensors file. Without it the "
        "weights are random, and the title of the figure states it."
    ),
]
Output = Annotated[Path, typer.Option(help="Figure to write: .png, .svg or .pdf.")]
Block = Annotated[str, typer.Option(help="Residual block that the non-local block follows.")]
Position = Annotated[
    str | None,
    typer.Option(
        help="Position in the block's grid, counted from 0. Default: the middle.", metavar="T,H,W"
    ),
]
Largest = Annotated[int, typer.Option("-k", help="Number of weights to draw.", min=1)]
Depth = Annotated[int, typer.Option(help="Depth of the ResNet: 50, 101 or 152.")]
Inflation = Annotated[str, typer.Option(help="none (C2D), or 3x1x1 or 3x3x3 (I3D).")]
Count = Annotated[int, typer.Option("--blocks", help="Number of non-local blocks: 1, 5 or 10.")]
Fields = Annotated[
    str,
    typer.Option(
        help="Other fields of nlcore.video.NetworkSpec in JSON, such as "
        """'{"block": {"pairwise": "dot_product"}, "classes": 157}'.""",
        metavar="JSON",
    ),
]
Frames = Annotated[int, typer.Option(help="Number of frames of the clip.")]
Every = Annotated[int, typer.Option(help="Step between frames of the clip.")]
Start = Annotated[float, typer.Option(help="Start of the clip, in seconds.")]
ShortSide = Annotated[int, typer.Option(help="Resize frames to this shorter side, in pixels.")]
Crop = Annotated[
    int | None, typer.Option(help="Crop frames to a centre with at most this side, in pixels.")
]
Columns = Annotated[int, typer.Option(help="Number of frames per row.", min=1)]
Device = Annotated[str, typer.Option(help="Device, such as cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Seed of random weights.")]


@app.command()
def attend(
    video: Video,
    weights: Weights = None,
    output: Output = Path("responses.png"),
    block: Block = "res3.3",
    position: Position = None,
    k: Largest = 20,
    depth: Depth = 50,
    inflation: Inflation = "none",
    count: Count = 5,
    fields: Fields = "{}",
    frames: Frames = 32,
    every: Every = 2,
    start: Start = 0.0,
    short_side: ShortSide = 256,
    crop: Crop = None,
    columns: Columns = 2,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Draw the largest weights of one position of a video in a network: the paper's Figure 3.

    The position i is marked. Arrows lead from it to the k positions j of the clip with the largest
    weights w_ij = f(x_i, x_j) / C(x). Frames are resized and normalized as in the paper.
    """
    with _or_exit():
        _check_output(output)
        _check_device(device)
        torch.manual_seed(seed)
        network = Network(_spec(depth, inflation, count, fields), device=device).eval()
        name = _named(network, block)
        if weights is not None:
            network.import_weights(read_arrays(weights))
        with console.status(f"reading {video}"):
            clip = read_clip(video, frames, every, start, short_side)
        seen = cropped(clip.frames, crop)
        x = _input_of(network, name, torch.from_numpy(normalized(seen)).to(device))
        sizes = tuple(x.shape[2:])  # (T', H', W')
        query = tuple(n // 2 for n in sizes) if position is None else _indices(position)
        module = non_local_blocks(network)[name]
        top = top_responses(module, x, query, k)
        what = (
            f"{k} largest weights of position {query} in {sizes} at {block}, {module.spec.pairwise}"
        )
        figure = draw_responses(
            seen,
            sizes,
            query,
            top.weights[0].cpu().numpy(),
            top.positions[0].cpu().numpy(),
            window=module.spec.pool,
            times=clip.times,
            title=what if weights is not None else f"{what}\n{UNTRAINED}",
            columns=columns,
        )
        figure.savefig(output, dpi=150)
    print(f"{output}: {what}")


def _spec(depth: int, inflation: str, count: int, fields: str) -> NetworkSpec:
    more = json.loads(fields)
    if not isinstance(more, dict):
        raise ValueError(f"--fields must be a JSON object; received {fields}")
    given = {"depth": depth, "inflation": inflation, **more}
    return NetworkSpec(**{"non_local": placement(given["depth"], count), **given})


def _indices(position: str) -> tuple[int, ...]:
    try:
        t, h, w = (int(n) for n in position.split(","))
    except ValueError:
        raise ValueError(f"--position must be T,H,W, three ints; received {position!r}") from None
    return t, h, w


def _named(network: Network, block: str) -> str:
    """The name of the non-local block that follows a residual block."""
    name, known = f"{block}.{NAME}", list(non_local_blocks(network))
    if name not in known:
        after = ", ".join(other.removesuffix(f".{NAME}") for other in known)
        raise ValueError(
            f"--block must be one of: {after or 'none, because of --blocks 0'}; received {block}"
        )
    return name


@torch.no_grad()
def _input_of(network: Network, name: str, clips: Tensor) -> Tensor:
    """The input (B, C, T', H', W') of a non-local block, for clips (B, 3, T, H, W)."""
    seen: list[Tensor] = []
    residuals = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("residual blocks", total=len(residuals))
        for module in residuals:
            module.register_forward_hook(lambda *_: bar.advance(task))
        network.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        network(clips)
    return seen[0]


def _check_output(output: Path) -> None:
    formats = Figure().canvas.get_supported_filetypes()
    if output.suffix.removeprefix(".") not in formats or not output.parent.is_dir():
        raise ValueError(
            f"--output must be a file with a suffix in {', '.join(formats)}, in a folder that "
            f"exists; received {output}"
        )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"--device must be a device that PyTorch supports; received {device}: {error}"
        ) from None


@contextmanager
def _or_exit() -> Iterator[None]:
    """A context in which an error ends the command with one line and exit status 2."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        print(f"nlcore_torch.video.attend: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app(prog_name="python -m nlcore_torch.video.attend")
