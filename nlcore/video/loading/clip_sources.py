"""Clips as pure functions of an index, a recipe, a seed and a place in the training or test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nlcore.video.draws import WORDS, Draw, element, element_in_epoch
from nlcore.video.labels.index_file import check_file
from nlcore.video.labels.making import index_of_files
from nlcore.video.labels.videos import Index, labels_of
from nlcore.video.loading.targets import check_targets, target_of
from nlcore.video.recipes.definition import Recipe
from nlcore.video.sampling import ClipDialect, View, dialect
from nlcore.video.views import clip_and_crop

#: Iteration of the draws of validation clips, which no training reaches.
VALIDATION = WORDS - 1


class LoadedClip(NamedTuple):
    """A clip as a network gets it.

    Attributes
    ----------
    video : int
        Number of the video in the index.
    frames : (T,) int64
        Numbers of the frames in the video.
    pixels : (3, T, h, w) float32
    target : array
        See `nlcore.video.loading.target_of`.
    """

    video: int
    frames: np.ndarray
    pixels: np.ndarray
    target: np.ndarray


class ClipSource(Protocol):
    """Clips by keys of integers, such as (iteration, slot)."""

    @property
    def load(self) -> Callable[..., Any]:
        """Read the clip of a key, any object but a str.

        Raises a ValueError or OSError where it cannot be read.
        """

    @property
    def named(self) -> Callable[..., str]:
        """The key and its video in words. Nothing is read."""


@dataclass(frozen=True)
class TrainingClips:
    """The clips of a training, by (iteration, slot).

    A recipe that counts iterations reads `nlcore.video.draws.element`. One that counts epochs reads
    `nlcore.video.draws.element_in_epoch`: the last videos of an epoch that do not fill a batch are
    left out, or are a smaller batch (`Recipe.last_batch`).

    Parameters
    ----------
    index : Index
    recipe : Recipe
    seed : int

    Raises
    ------
    ValueError
        The labels do not fit the recipe, or an epoch has no iteration.
    """

    index: Index
    recipe: Recipe
    seed: int

    def __post_init__(self) -> None:
        check_targets(self.index, self.recipe)
        Draw(self.seed, 0, 0)  # raises for a wrong seed
        self.count(0)

    def count(self, iteration: int) -> int:
        """Number of clips in an iteration's batch, over all processes."""
        if self.recipe.epochs is None:
            return self.recipe.batch
        inside = iteration % self.recipe.iterations_per_epoch(len(self.index))
        return min(self.recipe.batch, len(self.index) - inside * self.recipe.batch)

    def video(self, iteration: int, slot: int) -> int:
        """Number of the video that a slot reads."""
        place = (self.seed, iteration, slot, self.recipe.batch, len(self.index))
        if self.recipe.epochs is None:
            return element(*place)
        return element_in_epoch(*place, kept=self.recipe.last_batch == "kept")

    def load(self, iteration: int, slot: int) -> LoadedClip:
        """Read the clip of a slot. Its labels are those of the frames that it spans."""
        number = self.video(iteration, slot)
        frames, view = _random(self.index, self.recipe, number, Draw(self.seed, iteration, slot))
        labels = labels_of(self.index.videos[number], spanned(frames))
        return _one(_loaded(self.index, self.recipe, number, frames, [view], labels))

    def named(self, iteration: int, slot: int) -> str:
        """The key and the video in words."""
        path = _path(self.index, self.video(iteration, slot))
        return f"iteration {iteration}, slot {slot}: {path}"


@dataclass(frozen=True)
class ValidationClips:
    """One random clip of each video, by (video,): always the same ones.

    They are drawn as training clips are, as in the paper's Figure 4. Labels are those of the whole
    video.
    """

    index: Index
    recipe: Recipe
    seed: int

    def __post_init__(self) -> None:
        check_targets(self.index, self.recipe)

    def load(self, video: int) -> LoadedClip:
        """Read the clip of a video."""
        frames, view = _random(self.index, self.recipe, video, Draw(self.seed, VALIDATION, video))
        labels = labels_of(self.index.videos[video])
        return _one(_loaded(self.index, self.recipe, video, frames, [view], labels))

    def named(self, video: int) -> str:
        """The key and the video in words."""
        return f"validation, video {video}: {_path(self.index, video)}"


@dataclass(frozen=True)
class EvaluationClips:
    """The test views of a recipe, by (video, view). Labels are those of the whole video.

    With a third number, `end`, the views before it too, which are crops of the same clip. Its
    frames are decoded once, and pixels are (views, 3, T, h, w).
    """

    index: Index
    recipe: Recipe

    def __post_init__(self) -> None:
        check_targets(self.index, self.recipe)

    def load(self, video: int, view: int, end: int | None = None) -> LoadedClip:
        """Read one view of a video, or some crops of one clip."""
        recipe, shown = self.recipe, self.index.videos[video]
        clip, first = clip_and_crop(view, recipe.test_crops)
        rules = dialect(recipe.sampling)
        frames = rules.test_clip(
            shown.frames, shown.fps, recipe.frames, recipe.stride, clip, recipe.test_clips
        )
        seen = [
            rules.test_view(
                shown.height,
                shown.width,
                recipe.test_short_side,
                recipe.test_crop,
                crop,
                recipe.test_crops,
            )
            for crop in range(first, first + (1 if end is None else end - view))
        ]
        found = _loaded(self.index, recipe, video, frames, seen, labels_of(shown))
        return _one(found) if end is None else found

    def named(self, video: int, view: int, end: int | None = None) -> str:
        """The key and the video in words."""
        clip, crop = clip_and_crop(view, self.recipe.test_crops)
        last = "" if end is None or end == view + 1 else f" to {crop + end - view - 1}"
        return f"video {video}, clip {clip}, crop {crop}{last}: {_path(self.index, video)}"


def views_of(path: Path | str, recipe: Recipe) -> Iterator[np.ndarray]:
    """The test views of one video file, one after another: the input of a network.

    Parameters
    ----------
    path : path
    recipe : Recipe

    Yields
    ------
    (1, 3, T, h, w) float32

    Raises
    ------
    ValueError, OSError
        The file cannot be decoded, or a view does not fit.
    """
    clips = EvaluationClips(index_of_files([path]), recipe)
    for first in range(0, recipe.views, recipe.test_crops):
        yield from clips.load(0, first, first + recipe.test_crops).pixels[:, None]


def spanned(frames: Iterable[int]) -> set[int]:
    """The frames from a clip's first to its last. Where its numbers fall, a new span begins.

    Examples
    --------
    >>> sorted(spanned([6, 8, 0, 2]))
    [0, 1, 2, 6, 7, 8]
    """
    return {frame for first, last in _spans(frames) for frame in range(first, last + 1)}


def _spans(frames: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for frame in map(int, frames):
        if first < 0 or frame < last:
            if first >= 0:
                yield first, last
            first = frame
        last = frame
    if first >= 0:
        yield first, last


def _random(index: Index, recipe: Recipe, number: int, draw: Draw) -> tuple[np.ndarray, View]:
    """Frames and view of a random clip."""
    video, rules = index.videos[number], dialect(recipe.sampling)
    frames = rules.training_clip(video.frames, video.fps, recipe.frames, recipe.stride, draw)
    view = rules.training_view(video.height, video.width, recipe.jitter, recipe.crop, draw)
    return frames, view if recipe.flip else replace(view, flip=False)


def _loaded(
    index: Index,
    recipe: Recipe,
    number: int,
    frames: np.ndarray,
    views: list[View],
    labels: Iterable[int],
) -> LoadedClip:
    """Views of the same frames, with pixels (views, 3, T, h, w)."""
    video = index.videos[number]
    if not video.images:
        check_file(video, index.root)
    each = _OneFrame(dialect(recipe.sampling), views, (video.height, video.width))
    pixels = index.read(number, frames.tolist(), each=each, axis=2)  # (views, 3, T, h, w)
    return LoadedClip(number, frames, pixels, target_of(labels, recipe))


def _one(clip: LoadedClip) -> LoadedClip:
    """The clip with the pixels (3, T, h, w) of its only view."""
    return clip._replace(pixels=clip.pixels[0])


@dataclass(frozen=True)
class _OneFrame:
    """The numbers (views, 3, h, w) of a frame's pixels (H, W, 3)."""

    rules: ClipDialect
    views: list[View]
    size: tuple[int, int]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[:2] != self.size:
            raise ValueError(
                f"frames must have {self.size} pixels, as when they were indexed; "
                f"received {picture.shape[:2]}"
            )
        if len(self.views) == 1:  # without a copy
            return self.rules.pixels(picture[None], self.views[0])[None, :, 0]
        return np.stack([self.rules.pixels(picture[None], view)[:, 0] for view in self.views])


def _path(index: Index, number: int) -> str:
    return str(index.root / index.videos[number].path)
