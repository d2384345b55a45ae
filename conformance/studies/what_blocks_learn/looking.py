"""Where the one block of a trained network looks in films of "compare"."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.checkpoints.starting_weights import read_source, starting_weights
from nlcore.video.labels import Index
from nlcore_torch import NonLocalBlock
from nlcore_torch.attention_weights import responses
from nlcore_torch.video.network import Network
from what_blocks_learn.configurations import BLOCK, BY_NAME, CLIP, NETWORK
from what_blocks_learn.film_files import index_file
from what_blocks_learn.film_tasks import FIRST, FRAMES, SECOND, SEGMENTS, TASKS
from what_blocks_learn.pictures_used import SIDE
from what_blocks_learn.trained_networks import clip_of, input_of, trained_network, with_weights
from what_blocks_learn.trainings import Place, Training

#: Networks with one block, whose weights w_ij are shares of 1, and the one that is drawn.
LOOKING, DRAWN = ("nl1_res3", "nl1_gaussian"), "nl1_res3"
#: Pixels of a position of the block's grid.
CELL = 8
#: Sum over R, G and B by which a pixel of a digit differs from the background at least.
VISIBLE = 60
#: Of the rows that `shares` makes.
COLUMNS = ("configuration", "seed", "first", "second", "by_chance", "before")


@dataclass(frozen=True)
class Look:
    """What a block sees of one film from the position i in the middle of the second digit.

    Attributes
    ----------
    position : (T, H, W)
        The position i.
    first, second : (T, H, W), bool
        The positions that show a pixel of the first digit, and of the second.
    """

    position: tuple[int, int, int]
    first: np.ndarray
    second: np.ndarray


def look_at(clip: np.ndarray) -> Look:
    """The digits in a clip of 8 frames (T, H, W, 3), one of each segment."""
    empty = clip[FIRST.stop].astype(int)
    first, second = (_shape(clip[segments.start], empty) for segments in (FIRST, SECOND))  # (H, W)
    rows, columns = np.nonzero(second)
    middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    row, column = (int(n) // CELL for n in middle)
    return Look(
        (SECOND[len(SECOND) // 2], row, column),
        np.stack([_cells(first) & (segment in FIRST) for segment in range(SEGMENTS)]),
        np.stack([_cells(second) & (segment in SECOND) for segment in range(SEGMENTS)]),
    )


def shares(place: Place, training: Training, films: Index) -> dict[str, Any]:
    """The mean over films of the sum of w_ij over the positions j of each digit.

    `by_chance` is that of a block whose w_ij are all equal, and `before` that of the first digit
    with the weights from which the training starts.
    """
    seed = training.seed
    start, _ = starting_weights(training.recipe, seed, read_source(place.start(seed)))
    networks = trained_network(place, training), with_weights(training, start)
    found = []
    for number in range(len(films.videos)):
        clip = clip_of(films, number)
        look = look_at(clip)
        x = input_of(training, clip)[None]  # (1, 3, T, H, W)
        after, before = (_weights(network, x, look) for network in networks)
        digits = after[look.first].sum(), after[look.second].sum(), look.first.mean()
        found.append([*digits, before[look.first].sum()])
    means = np.mean(found, 0).tolist()
    return dict(zip(COLUMNS, (training.configuration, seed, *means), strict=True))


def attend_arguments(place: Place, index: Index, number: int, seed: int, output: Path) -> list[str]:
    """Arguments of `nlcore-video attend` for one film, from the middle of its second digit."""
    spec = BY_NAME[DRAWN].recipe("compare").network
    (residual,) = spec.non_local
    fields = {**NETWORK, "classes": len(TASKS["compare"].labels), "block": BLOCK}
    options = {
        "--weights": place.weights(Training("compare", DRAWN, seed)),
        "--block": residual,
        "--position": ",".join(map(str, look_at(clip_of(index, number)).position)),
        "--fields": json.dumps({**fields, "non_local": spec.non_local}),
        "--frames": CLIP,
        "--every": FRAMES // CLIP,
        "--short-side": SIDE,
        "--columns": CLIP // 2,
        "--output": output,
    }
    film = index.root / index.videos[number].path
    return [str(film), *(str(word) for pair in options.items() for word in pair)]


def best_seed(results: Iterable[dict[str, Any]]) -> int:
    """The seed of the drawn network that has most films right."""
    ranked = [
        (r["right"], r["seed"])
        for r in results
        if (r["task"], r["configuration"]) == ("compare", DRAWN)
    ]
    return int(max(ranked)[1])


def validation_file(place: Place) -> Path:
    """The index of the films that are looked at."""
    return index_file(place.films, TASKS["compare"], "validation")


def _shape(frame: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """The pixels (H, W) of a digit."""
    changed: np.ndarray = np.abs(frame - empty).sum(-1) > VISIBLE
    return changed


def _cells(pixels: np.ndarray) -> np.ndarray:
    """The positions of the block's grid that have any of the pixels."""
    side = SIDE // CELL
    return np.any(pixels.reshape(side, CELL, side, CELL), axis=(1, 3))


def _weights(network: Network, x: torch.Tensor, look: Look) -> np.ndarray:
    """The weights w_ij (T, H, W) of the network's block."""
    (block,) = (module for module in network.modules() if isinstance(module, NonLocalBlock))
    seen: list[torch.Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(x)
    handle.remove()
    return responses(block, seen[0], look.position)[0].detach().numpy()
