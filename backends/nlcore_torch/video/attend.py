"""nlcore-video attend: draw the largest weights of one position of a video."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import lcm, prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from nlcore.checkpoints import read_arrays
from nlcore.video import NetworkSpec, Recipe, placement
from nlcore.video.running import Checkpoint
from nlcore.video.running.run_folder import checkpoint_at
from nlcore.video.sampling import dialect
from nlcore.video.sampling.cropping import whole
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
    sys.exit(f"nlcore-video attend needs {error.name}: pip install 'nlcore[torch,video]'")

app = typer.Typer(add_completion=False)
console = Console(stderr=True)

#: How many weights are drawn, and after which residual block, unless options say otherwise.
LARGEST, FIRST = 20, "res3.3"
UNTRAINED = "Untrained: the weights of this network are random"


Video = Annotated[Path, typer.Argument(help="Any file that FFmpeg reads.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="A run, a checkpoint, or a .safetensors file with nlcore's names. A run and a "
        "checkpoint state their network and clips. Without this option, the weights are random, "
        "and the title of the picture states that."
    ),
]
Output = Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")]
Block = Annotated[
    str | None,
    typer.Option(
        help="Residual block that the non-local block follows. Default: res3.3, or the last one."
    ),
]
Position = Annotated[
    str | None,
    typer.Option(
        help="Position in the block's grid, counted from 0. Default: the middle.", metavar="T,H,W"
    ),
]
Largest = Annotated[
    int | None,
    typer.Option("-k", help="Number of weights to draw. Default: 20, or all if fewer.", min=1),
]
Depth = Annotated[
    int | None, typer.Option(help="Depth of the ResNet: 50, 101 or 152. Default: 50.")
]
Inflation = Annotated[
    str | None, typer.Option(help="none (C2D), or 3x1x1 or 3x3x3 (I3D). Default: none.")
]
Count = Annotated[
    int | None,
    typer.Option("--blocks", help="Number of non-local blocks: 1, 5 or 10. Default: 5."),
]
Fields = Annotated[
    str | None,
    typer.Option(
        help="Other fields of nlcore.video.NetworkSpec in JSON, such as "
        """'{"block": {"pairwise": "dot_product"}, "classes": 157}'.""",
        metavar="JSON",
    ),
]
Frames = Annotated[
    int | None, typer.Option(help="Number of frames of the clip. Default: the run's, or 32.")
]
Every = Annotated[
    int | None, typer.Option(help="Step between frames of the clip. Default: the run's, or 2.")
]
Start = Annotated[float, typer.Option(help="Start of the clip, in seconds.")]
ShortSide = Annotated[
    int | None,
    typer.Option(
        help="Resize frames to this shorter side, in pixels. Default: that of the run's test "
        "views, or 256."
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(help="Crop the middle of the frames, with sides of at most this many pixels."),
]
Columns = Annotated[int, typer.Option(help="Number of frames per row.", min=1)]
Device = Annotated[str, typer.Option(help="Device, such as cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Seed of random weights.")]


@app.command()
def attend(
    video: Video,
    weights: Weights = None,
    output: Output = Path("responses.png"),
    block: Block = None,
    position: Position = None,
    k: Largest = None,
    depth: Depth = None,
    inflation: Inflation = None,
    count: Count = None,
    fields: Fields = None,
    frames: Frames = None,
    every: Every = None,
    start: Start = 0.0,
    short_side: ShortSide = None,
    crop: Crop = None,
    columns: Columns = 2,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Draw the largest weights of one position of a video, as in the paper's Figure 3.

    The position i is marked. Arrows lead from it to the k positions j of the clip with the largest
    weights w_ij = f(x_i, x_j) / C(x). Frames are normalized as in the recipe of the run. Without a
    run, they are normalized as in the paper. The step between frames counts frames of the file.
    """
    with _or_exit():
        _check_output(output)
        _check_device(device)
        torch.manual_seed(seed)
        found = None if weights is None else checkpoint_at(weights, console.print)
        recipe = None if found is None else found.recipe
        described = {"depth": depth, "inflation": inflation, "blocks": count, "fields": fields}
        network = Network(_spec(found, described), device=device).eval()
        residual = _chosen(network, block, found)
        if weights is not None:
            _load(network, weights, found)
        with console.status(f"reading {video}"):
            clip = read_clip(video, *_clip(recipe, frames, every), start, _side(recipe, short_side))
        name = f"{residual}.{NAME}"
        module = non_local_blocks(network)[name]
        window = 2 ** int(residual[3]) * lcm(*module.spec.pool[1:])  # the stride of res3 is 8
        seen = cropped(clip.frames, crop, window)
        x = _input_of(network, name, torch.from_numpy(_normalized(seen, recipe)).to(device))
        sizes = tuple(x.shape[2:])  # (T', H', W')
        query = tuple(n // 2 for n in sizes) if position is None else _indices(position)
        keys = prod(n // w for n, w in zip(sizes, module.spec.pool, strict=True))
        k = min(LARGEST, keys) if k is None else k
        top = top_responses(module, x, query, k)
        what = f"{k} largest weights of position {query} in {sizes} at {residual}, "
        what += module.spec.pairwise
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


def _spec(found: Checkpoint | None, described: dict[str, Any]) -> NetworkSpec:
    """The network of a checkpoint, or the one that is described by options."""
    given = [f"--{name}" for name, value in described.items() if value is not None]
    if found is not None:
        if given:
            raise ValueError(f"the run states its network; leave out {', '.join(given)}")
        network: NetworkSpec = found.recipe.network
        return network
    default: dict[str, Any] = {"depth": 50, "inflation": "none", "blocks": 5, "fields": "{}"}
    described = default | {name: value for name, value in described.items() if value is not None}
    fields = described["fields"]
    more = json.loads(fields)
    if not isinstance(more, dict):
        raise ValueError(f"--fields must be a JSON object; received {fields}")
    named = {"depth": described["depth"], "inflation": described["inflation"], **more}
    return NetworkSpec(**{"non_local": placement(named["depth"], described["blocks"]), **named})


def _clip(recipe: Recipe | None, frames: int | None, every: int | None) -> tuple[int, int]:
    """How many frames a clip has, and the step between them."""
    default = (32, 2) if recipe is None else (recipe.frames, recipe.stride)
    return default[0] if frames is None else frames, default[1] if every is None else every


def _side(recipe: Recipe | None, side: int | None) -> int:
    if side is not None:
        return side
    return 256 if recipe is None else recipe.test_short_side


def _load(network: Network, weights: Path, found: Checkpoint | None) -> None:
    if found is not None:
        network.import_weights(found.state.weights)
        return
    try:
        network.import_weights(read_arrays(weights))
    except ValueError as error:
        raise ValueError(
            f"{error}. Describe the network of the file by --depth, --inflation, --blocks and "
            "--fields, or pass its run or checkpoint instead"
        ) from None


def _normalized(frames: np.ndarray, recipe: Recipe | None) -> np.ndarray:
    """Frames (T, H, W, 3) as numbers (1, 3, T, H, W), as the recipe's dialect makes them."""
    if recipe is None:
        return normalized(frames)
    return dialect(recipe.sampling).pixels(frames, whole(frames.shape[1:3]))[None]


def _indices(position: str) -> tuple[int, ...]:
    try:
        t, h, w = (int(n) for n in position.split(","))
    except ValueError:
        raise ValueError(f"--position must be T,H,W, three ints; received {position!r}") from None
    return t, h, w


def _chosen(network: Network, block: str | None, found: Checkpoint | None) -> str:
    """The residual block that the non-local block follows, by default res3.3 or the last one."""
    known = [name.removesuffix(f".{NAME}") for name in non_local_blocks(network)]
    if not known:
        raise ValueError("the network must have non-local blocks; received one without")
    if block is None:
        return FIRST if FIRST in known else known[-1]
    if block not in known:
        others = " (set --blocks or --fields if your network has others)"
        raise ValueError(
            f"--block must be one of: {', '.join(known)}{'' if found else others}; received {block}"
        )
    return block


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
        print(f"nlcore-video attend: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app(prog_name="python -m nlcore_torch.video.attend")
