"""Trained networks of the study, their inputs, and which colours they tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from nlcore.video.labels import Index
from nlcore.video.running.video_task import targets_of
from nlcore.video.sampling import dialect
from nlcore.video.sampling.cropping import whole
from nlcore_torch.video.network import Network
from what_blocks_learn.configurations import CLIP
from what_blocks_learn.film_files import groups_of
from what_blocks_learn.film_tasks import FRAMES, TASKS, two_colours
from what_blocks_learn.pictures_used import SIDE
from what_blocks_learn.trainings import VIEWS, Place, Training

#: The networks whose groups are counted by colours.
COUNTED = ("nl1_res3", "nl1_gaussian", "nl5")


def trained_network(place: Place, training: Training) -> Network:
    """The network after the training."""
    return with_weights(training, load_file(place.weights(training)))


def with_weights(training: Training, weights: Mapping[str, np.ndarray]) -> Network:
    """The network of a training, with weights by nlcore's names."""
    network = Network(training.recipe.network).eval()
    network.import_weights(weights)
    return network


def clip_of(films: Index, number: int) -> np.ndarray:
    """A frame of each segment: (T, H, W, 3)."""
    return films.read(number, range(0, FRAMES, FRAMES // CLIP))


def input_of(training: Training, clip: np.ndarray) -> torch.Tensor:
    """The input (3, T, H, W) of the network for a clip (T, H, W, 3)."""
    pixels = dialect(training.recipe.sampling).pixels(clip, whole((SIDE, SIDE)))
    return torch.from_numpy(pixels)


def by_colours(
    place: Place, training: Training, films: Index, seed: int
) -> Iterator[dict[str, Any]]:
    """For each pair of colours, the number of groups of validation and of those that are right.

    `seed` is that of the films.
    """
    network, targets = trained_network(place, training), targets_of(films, training.recipe)
    answers = []
    for begin in range(0, len(targets), VIEWS):
        numbers = range(begin, min(begin + VIEWS, len(targets)))
        x = torch.stack([input_of(training, clip_of(films, n)) for n in numbers])
        with torch.no_grad():
            answers.append(network(x).argmax(1).numpy())
    right, groups = np.concatenate(answers) == targets, groups_of(films)
    found: dict[str, list[bool]] = {}
    for number in np.unique(groups):
        rng = TASKS[training.task].generator("validation", seed, int(number))
        pair = " and ".join(sorted(two_colours(rng)))
        found.setdefault(pair, []).append(bool(right[groups == number].all()))
    for pair, solved in sorted(found.items()):
        row = {"configuration": training.configuration, "seed": training.seed, "colours": pair}
        yield {**row, "groups": len(solved), "groups_right": sum(solved)}
