"""python -m nlcore_torch.video.attend: where a position of a video looks, as a picture."""

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


@app.command()
def attend(
    video: Annotated[Path, typer.Argument(help="Any file that FFmpeg reads.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The network's, by nlcore's names, in a .safetensors file. Without it they are "
            "random, and the picture says so."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The picture: .png, .svg, .pdf.")] = Path(
        "responses.png"
    ),
    block: Annotated[
        str, typer.Option(help="The residual block that the non-local block stands after.")
    ] = "res3.3",
    position: Annotated[
        str | None,
        typer.Option(
            help="Of the block's own grid, from 0,0,0 on; by default the middle.", metavar="T,H,W"
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many of the largest weights.", min=1)] = 20,
    depth: Annotated[int, typer.Option(help="ResNet-50 or -101.")] = 50,
    inflation: Annotated[str, typer.Option(help="none, 3x1x1 or 3x3x3.")] = "none",
    count: Annotated[int, typer.Option("--blocks", help="The paper's 1, 5 or 10.")] = 5,
    fields: Annotated[
        str,
        typer.Option(
            help="More of nlcore.video.NetworkSpec, in JSON, like "
            """'{"block": {"pairwise": "dot_product"}, "classes": 157}'.""",
            metavar="JSON",
        ),
    ] = "{}",
    frames: Annotated[int, typer.Option(help="Of the clip.")] = 32,
    every: Annotated[int, typer.Option(help="Take every such frame of the video.")] = 2,
    start: Annotated[float, typer.Option(help="Of the clip, in seconds.")] = 0.0,
    short_side: Annotated[int, typer.Option(help="Pixels that frames are resized to.")] = 256,
    crop: Annotated[
        int | None, typer.Option(help="Keep the middle of the frames, so many pixels a side.")
    ] = None,
    columns: Annotated[int, typer.Option(help="Frames that stand side by side.", min=1)] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
) -> None:
    """Draw where one position of a video looks in a non-local network: the paper's Figure 3.

    The position is marked, and arrows lead from it to the k positions of the clip whose weight
    w_ij = f(x_i, x_j) / C(x) is largest. Frames are resized and normalized as in the paper.
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
    """The name of the non-local block after a residual block."""
    name, known = f"{block}.{NAME}", list(non_local_blocks(network))
    if name not in known:
        after = ", ".join(other.removesuffix(f".{NAME}") for other in known)
        raise ValueError(
            f"--block must be one of {after or 'none, by --blocks 0'}; received {block}"
        )
    return name


@torch.no_grad()
def _input_of(network: Network, name: str, clips: Tensor) -> Tensor:
    """The x of a non-local block of the network, (B, C, T', H', W'), at clips (B, 3, T, H, W)."""
    seen: list[Tensor] = []
    residuals = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("the network's residual blocks", total=len(residuals))
        for module in residuals:
            module.register_forward_hook(lambda *_: bar.advance(task))
        network.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        network(clips)
    return seen[0]


def _check_output(output: Path) -> None:
    formats = Figure().canvas.get_supported_filetypes()
    if output.suffix.removeprefix(".") not in formats or not output.parent.is_dir():
        raise ValueError(
            f"--output must be a file of {', '.join(formats)} in a folder that exists; "
            f"received {output}"
        )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"--device must be one that PyTorch has; received {device}: {error}"
        ) from None


@contextmanager
def _or_exit() -> Iterator[None]:
    """What cannot be done ends the command with one line and status 2."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        print(f"nlcore_torch.video.attend: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app(prog_name="python -m nlcore_torch.video.attend")
