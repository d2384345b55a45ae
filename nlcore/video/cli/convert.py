"""nlcore-video convert: the weights of a network under the names of another project."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nlcore.video.cli import options as shared
from nlcore.video.cli.terminal import or_exit
from nlcore.video.network import NetworkSpec
from nlcore.video.published_networks import published
from nlcore.video.running.run_folder import load_run

OWN = "nlcore"
PROJECTS = "nlcore, caffe2, slowfast, pytorchvideo, mmaction2"


def convert(
    source: Annotated[
        Path, typer.Argument(help="A file of weights, a run or a checkpoint.", metavar="WEIGHTS")
    ],
    output: Annotated[
        Path, typer.Argument(help="The file to write: .safetensors.", metavar="FILE")
    ],
    network: Annotated[
        str | None,
        typer.Option(
            help="The published network of the file. Default: the one with the name of the file.",
            metavar="NAME",
        ),
    ] = None,
    recipe: shared.RecipeOption = None,
    set: shared.SetOption = None,
    naming: Annotated[
        str | None,
        typer.Option(
            help=f"Project whose names WEIGHTS has: {PROJECTS}. Default: that of the published "
            "network, or nlcore for a run or with --recipe.",
            metavar="NAME",
        ),
    ] = None,
    to: Annotated[str, typer.Option(help=f"Project whose names FILE gets: {PROJECTS}.")] = OWN,
) -> None:
    """Write the weights of a network with the names and shapes of nlcore, or of another project.

    The network is a published one, that of a run, or that of --recipe. A report names what was
    computed, and what the other project's network computes differently.
    """
    with or_exit():
        if output.suffix != ".safetensors":
            raise ValueError(f"FILE must end in .safetensors; received {output}")
        spec, names = _network(source, network, recipe, set)
        # which imports nlcore.video, so it is imported when it is used
        renamed_weights = import_module("nlcore.checkpoints.renaming").renamed_weights
        weights, report = renamed_weights(source, spec, naming or names, to, *_reader())
        print(report, end="\n" * bool(report))
        _write(output, weights)
    print(f"{output}: {len(weights)} weights by the names of {to}")


def _network(
    source: Path, name: str | None, recipe: str | None, settings: list[str] | None
) -> tuple[NetworkSpec, str]:
    """The network, and whose names its weights have."""
    if recipe is not None:
        if name is not None:
            raise ValueError(f"--network and --recipe both state a network; received {name}")
        return shared.recipe_of(recipe, settings).network, OWN
    if settings:
        raise ValueError("--set changes a recipe: --recipe is needed; received only --set")
    if source.is_dir() and name is None:
        return load_run(source, print).recipe.network, OWN
    try:
        known = published(name or source.name)
    except ValueError as error:
        raise ValueError(f"--network or --recipe must state the network: {error}") from None
    return known.spec, known.origin


def _reader() -> list[Callable[[Path], Any]]:
    """PyTorch's reader of files, if PyTorch is installed."""
    try:
        return [import_module("nlcore_torch.convert").read_weights]
    except ImportError:
        return []


def _write(path: Path, weights: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({n: np.require(value, requirements="C") for n, value in weights.items()}, path)
