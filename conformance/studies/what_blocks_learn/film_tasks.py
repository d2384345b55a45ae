"""The tasks: films with labels, in groups whose labels cannot be told by what a group shares.

All films have `FRAMES` frames, in `SLOTS` slots within which only a moving digit changes. A clip of
8 frames has one frame of each slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from what_blocks_learn.pictures_used import DIGIT, DIGITS, SIDE, background, digits, with_digit

FRAMES, SLOTS = 32, 8
#: Pixels that a digit moves, and the least distance along one axis of two digits' places.
TRAVEL, APART = 24, 16
#: Slots in which the first and the second of two digits are seen.
FIRST, SECOND = range(3), range(5, 8)
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
    """What a film shows and what is asked of it.

    Attributes
    ----------
    name, question : str
    labels : tuple of str
    group : Group
        Makes the films of one group.
    groups : dict of split to int
        Number of groups.
    """

    name: str
    question: str
    labels: tuple[str, ...]
    group: Group
    groups: dict[str, int]

    def films(self, split: str, seed: int) -> Iterator[tuple[str, Film]]:
        """Names and films. Those of one group have names with one number."""
        for number in range(self.groups[split]):
            rng = np.random.default_rng([seed, len(split), number])
            for member, film in enumerate(self.group(split, rng)):
                yield f"{number:04d}-{member}", film


def compared(
    split: str, rng: np.random.Generator, among: Sequence[int] = range(DIGITS)
) -> list[Film]:
    """Four films: each of two first digits is followed by each of two second digits.

    The first digits are of two classes, p and q, and so are the second ones. All four films have the
    same background and the same two places.
    """
    p, q = rng.choice(among, 2, replace=False)
    pairs = [digits(split)[k][rng.choice(len(digits(split)[k]), 2, replace=False)] for k in (p, q)]
    empty, (here, there) = background(split, rng), _places(rng)
    films = []
    for first in (0, 1):
        for second in (0, 1):
            a = with_digit(empty, pairs[first][0], here)
            b = with_digit(empty, pairs[second][1], there)
            slots = [a if s in FIRST else b if s in SECOND else empty for s in range(SLOTS)]
            films.append(Film(_shown(slots), "same" if first == second else "another"))
    return films


def moving(split: str, rng: np.random.Generator) -> list[Film]:
    """Two films: a digit moves to the right, and the same frames in reverse."""
    digit, empty = _digit(split, rng)[1], background(split, rng)
    top, left = int(rng.integers(LAST + 1)), int(rng.integers(LAST - TRAVEL + 1))
    columns = left + np.round(np.linspace(0, TRAVEL, FRAMES)).astype(int)
    frames = _bytes([with_digit(empty, digit, (top, int(column))) for column in columns])
    return [Film(frames, "right"), Film(frames[::-1], "left")]


def flashing(split: str, rng: np.random.Generator) -> list[Film]:
    """One film: a digit is seen in one slot."""
    label, digit = _digit(split, rng)
    empty, (place, _) = background(split, rng), _places(rng)
    slots = [empty] * SLOTS
    slots[rng.integers(SLOTS)] = with_digit(empty, digit, place)
    return [Film(_shown(slots), str(label))]


def still(split: str, rng: np.random.Generator) -> list[Film]:
    """One film of one frame with a digit, of which the first network learns."""
    label, digit = _digit(split, rng)
    empty, (place, _) = background(split, rng), _places(rng)
    return [Film(_bytes([with_digit(empty, digit, place)]), str(label))]


def _digit(split: str, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    label = int(rng.integers(DIGITS))
    images = digits(split)[label]
    return label, images[rng.integers(len(images))]


def _places(rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two places, at least `APART` pixels from each other."""
    while True:
        here, there = rng.integers(LAST + 1, size=(2, 2)).tolist()
        if max(abs(here[0] - there[0]), abs(here[1] - there[1])) >= APART:
            return tuple(here), tuple(there)


def _shown(slots: list[np.ndarray]) -> np.ndarray:
    return np.repeat(_bytes(slots), FRAMES // SLOTS, axis=0)


def _bytes(frames: list[np.ndarray]) -> np.ndarray:
    return np.round(np.stack(frames)).astype(np.uint8)


NAMES = tuple(map(str, range(DIGITS)))
TASKS = {
    task.name: task
    for task in (
        Task(
            "compare",
            "A digit is seen first, and later a digit elsewhere: the same one, or another?",
            ("another", "same"),
            compared,
            {"training": 400, "validation": 100},
        ),
        Task(
            "move",
            "Which way does the digit move?",
            ("left", "right"),
            moving,
            {"training": 600, "validation": 150},
        ),
        Task(
            "flash",
            "A digit is seen in one slot: which one?",
            NAMES,
            flashing,
            {"training": 1200, "validation": 300},
        ),
        Task(
            "still",
            "Which digit is it?",
            NAMES,
            still,
            {"training": 2400, "validation": 300},
        ),
    )
}
