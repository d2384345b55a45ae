"""The weights that a training starts from: random, of ImageNet, published, or of another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.checkpoints.converted import Weights
from nlcore.checkpoints.files import read_arrays
from nlcore.checkpoints.imagenet import inflate
from nlcore.checkpoints.network_conversion import convert_network
from nlcore.checkpoints.network_origins import NETWORKS
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.labels.videos import renamed_labels
from nlcore.video.network import NetworkSpec
from nlcore.video.network_weights import FC, check_network_weights, selected_weights
from nlcore.video.recipes.definition import Recipe
from nlcore.video.running.run_folder import load_run

#: Whose names a file of initial weights can have.
NAMINGS = ("nlcore", "torchvision", "keras", *NETWORKS)


def starting_weights(
    recipe: Recipe,
    seed: int,
    source: Mapping[str, Any] | None = None,
    naming: str | None = None,
) -> tuple[Weights, str]:
    """The initial weights of a training, and a report of where they come from.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Of the random weights, see `nlcore.video.initial_weights`.
    source : mapping of str to array, optional
        Weights that replace random ones. A recipe with ``initial="random"`` has none, and any other
        one needs them.
    naming : str, optional
        Whose names they have, one of `NAMINGS`. Default: "torchvision" for ``initial="imagenet"``,
        else "nlcore".

    Raises
    ------
    ValueError
        A source is missing or not used, the naming is unknown, or weights are missing or left over.
        Those of non-local blocks may be missing, but not for ``initial="network"``. fc may be both
        if the number of classes differs.
    """
    network = recipe.network
    random = initial_network_weights(
        network, seed, recipe.block_init, recipe.block_identity, recipe.zero_residual
    )
    if recipe.initial == "random":
        if source is not None:
            raise ValueError(
                f"{recipe.name!r} starts from random weights; received others (set initial to "
                "'imagenet', 'network' or 'baseline' to use them)"
            )
        return random, f"random initial weights of seed {seed}"
    if source is None:
        of = f" of a network trained by {recipe.initial_recipe!r}" if recipe.initial_recipe else ""
        raise ValueError(
            f"{recipe.name!r} starts from {recipe.initial!r} weights{of}; received none (set "
            "initial to 'random' and initial_recipe to null to start without)"
        )
    naming = naming or ("torchvision" if recipe.initial == "imagenet" else "nlcore")
    weights, left_over, report = _known(recipe, source, naming)
    missing = [name for name in random if name not in weights]
    _check_missing(recipe, source, missing)
    if len(left_over) > len(set(FC) & set(missing)):  # those of an fc of other classes
        raise ValueError(
            f"the network must use all initial weights but fc's; not used: {len(left_over)}, such "
            f"as {sorted(left_over)[:3]}"
        )
    found = {name: np.asarray(weights.get(name, random[name]), np.float32) for name in random}
    return found, report


def _known(
    recipe: Recipe, source: Mapping[str, Any], naming: str
) -> tuple[Weights, tuple[str, ...], str]:
    """The weights of the source by nlcore's names, the names left over, and a report."""
    if naming not in NAMINGS:
        raise ValueError(f"naming must be one of {NAMINGS}; received {naming!r}")
    if naming == "nlcore":
        chosen, imported = selected_weights(recipe.network, source, partial=True)
        found = {n: np.asarray(value) for n, value in chosen.items()}
        return found, imported.left_over, str(imported)
    if naming in NETWORKS:
        converted = convert_network(source, recipe.network, naming, partial=True)
    else:
        converted = inflate(recipe.network, source, naming)
    return converted.weights, converted.left_over, converted.report()


def _check_missing(recipe: Recipe, source: Mapping[str, Any], missing: list[str]) -> None:
    new_blocks = recipe.initial != "network"
    wrong = [
        name for name in missing if name not in FC and not (new_blocks and ".non_local." in name)
    ]
    if wrong:
        raise ValueError(
            f"the initial weights must be all of the network's weights except those of fc"
            f"{' and of non-local blocks' if new_blocks else ''}; missing: {len(wrong)}, "
            f"such as {wrong[:3]}; received {sorted(source)[:3]} ... Set the network's depth, "
            "width and blocks to those of the weights"
        )


def read_source(
    path: Path,
    read: Callable[[Path], Mapping[str, Any]] = read_arrays,
    labels: Sequence[str] | None = None,
) -> Mapping[str, Any]:
    """Read the weights of a file, of a checkpoint, or of the newest checkpoint of a run.

    `read` reads a file. That of `nlcore_torch.convert` knows PyTorch's, too. fc is left out if
    `labels` are the names of a new training's labels, and the run has others.
    """
    if not path.is_dir():
        return read(path)
    found = load_run(path)
    same = labels is None or not renamed_labels(found.names, labels)
    return {n: value for n, value in found.state.weights.items() if same or n not in FC}


def complete_weights(
    network: NetworkSpec, source: Mapping[str, Any], naming: str = "nlcore"
) -> Weights:
    """All weights of a network by nlcore's names, from those of another naming.

    Raises
    ------
    ValueError
        The naming is unknown, or a weight is missing or left over.
    """
    if naming == "nlcore":
        check_network_weights(network, source)
        return {name: np.asarray(value) for name, value in source.items()}
    if naming not in NETWORKS:
        raise ValueError(
            f"naming must be 'nlcore' or one of {tuple(NETWORKS)}; received {naming!r}"
        )
    return convert_network(source, network, naming).weights
