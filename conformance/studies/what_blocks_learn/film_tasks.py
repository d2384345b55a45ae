"""The tasks: films with labels, in groups whose labels cannot be told by what a group shares.

Films of these tasks have `FRAMES` frames, in `SEGMENTS` segments of equal frames. So a clip of 8
frames has one frame of each segment, and the same frames in a film and in its reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from what_blocks_learn.pictures_used import (
    COLOURS,
    DIGIT,
    DIGITS,
    SIDE,
    SPLITS,
    background,
    digits,
    with_shape,
)

FRAMES, SEGMENTS = 32, 8
#: Pixels that a digit moves, and the least distance of two places along one axis.
TRAVEL, APART = 24, 14
#: Segments in which the first digit is seen, and those in which the second is.
FIRST, SECOND = range(3), range(5, 8)
#: Colours that are compared.
COLOURED = tuple(name for name in COLOURS if name != "white")
#: Largest coordinate of a digit's top left corner.
LAST = SIDE - DIGIT


class Film(NamedTuple):
    """Frames (T, SIDE, SIDE, 3) uint8, and the label."""

    frames: np.ndarray
    label: str


#: A group of films, from a split and a generator.
Group = Callable[[str, np.random.Generator], list[Film]]


@dataclass(frozen=True)
class Task:
    """What a film shows, and its labels.

    Attributes
    ----------
    name : str
    labels : tuple of str
    group : Group
        Makes the films of one group.
    groups : dict of split to int
        Number of groups.
    """

    name: str
    labels: tuple[str, ...]
    group: Group
    groups: dict[str, int]

    def films(self, split: str, seed: int) -> Iterator[tuple[str, Film]]:
        """Names and films. Those of one group have names with one number."""
        for number in range(self.groups[split]):
            group = self.group(split, self.generator(split, seed, number))
            for member, film in enumerate(group):
                yield f"{number:04d}-{member}", film

    def generator(self, split: str, seed: int, number: int) -> np.random.Generator:
        """The generator of the films of a group."""
        words = seed, SPLITS.index(split), number, *self.name.encode()
        return np.random.default_rng(words)


def compared(split: str, rng: np.random.Generator) -> list[Film]:
    """Four films: a digit is seen first, and another digit later, each in one of two colours.

    The label is whether the colour comes back. All four films have the same digits, background and
    two places.
    """
    pair = two_colours(rng)
    images = [_digit(split, rng)[1] for _ in range(2)]
    empty, (here, there) = background(split, rng), _places(rng, 2)
    films = []
    for first in pair:
        one = with_shape(empty, images[0], here, first)
        for second in pair:
            two = with_shape(empty, images[1], there, second)
            segments = [
                one if s in FIRST else two if s in SECOND else empty for s in range(SEGMENTS)
            ]
            films.append(Film(_shown(segments), "same" if first == second else "another"))
    return films


def two_colours(rng: np.random.Generator) -> list[str]:
    """The colours of a group of "compare", which are the first that its generator draws."""
    return [str(colour) for colour in rng.choice(COLOURED, 2, replace=False)]


def moving(split: str, rng: np.random.Generator) -> list[Film]:
    """Two films: a digit moves to the right, and the same frames in reverse."""
    digit, empty = _digit(split, rng)[1], background(split, rng)
    top, left = int(rng.integers(LAST + 1)), int(rng.integers(LAST - TRAVEL + 1))
    columns = left + np.round(np.linspace(0, TRAVEL, SEGMENTS)).astype(int)
    frames = _shown([with_shape(empty, digit, (top, int(column))) for column in columns])
    return [Film(frames, "right"), Film(frames[::-1], "left")]


def flashing(split: str, rng: np.random.Generator) -> list[Film]:
    """One film: a digit is seen in one segment."""
    label, digit = _digit(split, rng)
    empty, (place,) = background(split, rng), _places(rng, 1)
    segments = [empty] * SEGMENTS
    segments[rng.integers(SEGMENTS)] = with_shape(empty, digit, place)
    return [Film(_shown(segments), str(label))]


def still(split: str, rng: np.random.Generator) -> list[Film]:
    """One film of one frame with a digit in any colour, of which the first network learns."""
    label, digit = _digit(split, rng)
    empty, (place,) = background(split, rng), _places(rng, 1)
    colour = str(rng.choice(list(COLOURS)))
    return [Film(_bytes([with_shape(empty, digit, place, colour)]), str(label))]


def _digit(split: str, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    label = int(rng.integers(DIGITS))
    images = digits(split)[label]
    return label, images[rng.integers(len(images))]


def _places(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Places of which no two overlap."""
    while True:
        places = rng.integers(LAST + 1, size=(count, 2))
        apart = np.abs(places[:, None] - places[None]).max(-1) + APART * np.eye(count)
        if (apart >= APART).all():
            return [(int(top), int(left)) for top, left in places]


def _shown(segments: list[np.ndarray]) -> np.ndarray:
    return np.repeat(_bytes(segments), FRAMES // SEGMENTS, axis=0)


def _bytes(frames: list[np.ndarray]) -> np.ndarray:
    return np.round(np.stack(frames)).astype(np.uint8)


NAMES = tuple(map(str, range(DIGITS)))
TASKS = {
    task.name: task
    for task in (
        Task(
            "compare",
            ("another", "same"),
            compared,
            {"training": 400, "validation": 100},
        ),
        Task(
            "move",
            ("left", "right"),
            moving,
            {"training": 600, "validation": 150},
        ),
        Task(
            "flash",
            NAMES,
            flashing,
            {"training": 1200, "validation": 300},
        ),
        Task(
            "still",
            NAMES,
            still,
            {"training": 2400, "validation": 300},
        ),
    )
}
