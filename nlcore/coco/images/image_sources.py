"""Images as pure functions of a set, a recipe, a seed and a place in the training or test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nlcore.coco.coco_recipe import CocoRecipe
from nlcore.coco.images.annotations import CocoSet
from nlcore.coco.images.image_targets import (
    Target,
    mirror_pairs,
    mirrored,
    target_of_image,
    trained_on,
)
from nlcore.coco.images.pictures import read_picture
from nlcore.video.draws import Draw, element, order


class LoadedImage(NamedTuple):
    """An image as a detector gets it.

    Attributes
    ----------
    number : int
        Place of the image in the set.
    pixels : (H, W, 3) uint8
    target : dict of str to array
        See `nlcore.coco.images.image_targets.target_of_image`. Empty in testing.
    """

    number: int
    pixels: np.ndarray
    target: Target


class ImageBatch(NamedTuple):
    """Images that a device computes at once.

    Attributes
    ----------
    iteration : int
        Counted from 0.
    first : int
        Slot of the first image in the global batch.
    numbers : list of int
        Places of the images in the set.
    pixels : list of (H, W, 3) uint8
    targets : list of Target
    """

    iteration: int
    first: int
    numbers: list[int]
    pixels: list[np.ndarray]
    targets: list[Target]


def image_batch(iteration: int, first: int, images: Iterable[LoadedImage]) -> ImageBatch:
    """Images as a batch."""
    found = list(images)
    return ImageBatch(
        iteration,
        first,
        [image.number for image in found],
        [image.pixels for image in found],
        [image.target for image in found],
    )


@dataclass(frozen=True)
class TrainingImages:
    """The images of a training, by (iteration, slot): those that torchvision trains on.

    Which image a slot reads, and whether it is mirrored, are `nlcore.video.draws` of the seed, the
    iteration and the slot.

    Parameters
    ----------
    images : CocoSet
    recipe : CocoRecipe
    seed : int

    Raises
    ------
    ValueError
        The set has no image to train on, or a category that the detector has no output for.
    """

    images: CocoSet
    recipe: CocoRecipe
    seed: int

    def __post_init__(self) -> None:
        Draw(self.seed, 0, 0)  # raises for a wrong seed
        check_classes(self.images, self.recipe)
        if not len(self):
            raise ValueError(
                f"{self.images.path} must have an image to train on; received "
                f"{len(self.images)} images without annotations to train on"
            )

    @cached_property
    def numbers(self) -> list[int]:
        """Places in the set of the images that are trained on."""
        task = self.recipe.task
        every = range(len(self.images))
        return [n for n in every if trained_on(self.images.annotations(n), task) is None]

    def __len__(self) -> int:
        return len(self.numbers)

    def image(self, iteration: int, slot: int) -> int:
        """Place in the set of the image that a slot reads."""
        batch, count = self.recipe.batch, len(self)
        if self.recipe.epochs is None:
            return self.numbers[element(self.seed, iteration, slot, batch, count)]
        epoch, inside = divmod(iteration, self.recipe.iterations_per_epoch(count))
        return self.numbers[int(order(self.seed, epoch, count)[inside * batch + slot])]

    def load(self, iteration: int, slot: int) -> LoadedImage:
        """Read the image of a slot."""
        number = self.image(iteration, slot)
        image = self.images.images[number]
        pixels = read_picture(self.images.file(number), image.width, image.height)
        target = target_of_image(image, self.images.annotations(number), self.recipe.task)
        if self.recipe.flip and Draw(self.seed, iteration, slot).flip("flip"):
            pairs = mirror_pairs(self.images.categories[0].keypoints)
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            target = mirrored(target, image.width, pairs)
        return LoadedImage(number, pixels, target)

    def named(self, iteration: int, slot: int) -> str:
        """The key and the image in words."""
        path = self.images.file(self.image(iteration, slot))
        return f"iteration {iteration}, slot {slot}: {path}"


@dataclass(frozen=True)
class EvaluationImages:
    """All images of a set, by (number,), without targets."""

    images: CocoSet

    def load(self, number: int) -> LoadedImage:
        """Read an image."""
        image = self.images.images[number]
        pixels = read_picture(self.images.file(number), image.width, image.height)
        return LoadedImage(number, pixels, {})

    def named(self, number: int) -> str:
        """The image in words."""
        return f"image {self.images.images[number].id}: {self.images.file(number)}"


def check_classes(images: CocoSet, recipe: CocoRecipe) -> None:
    """Raise a ValueError unless the detector has an output for each category of its task."""
    if images.task != recipe.task:
        raise ValueError(f"the set must be read for {recipe.task!r}; received {images.task!r}")
    largest, classes = images.largest_label(), recipe.detector.classes
    if largest >= classes:
        raise ValueError(
            f"the ids of categories must be from 1 to {classes - 1} for detector.classes={classes} "
            f"(the background is 0); {images.path} has {largest}"
        )
