"""What a list of videos becomes before any video is opened, and how its faults are reported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from nlcore.video.labels.numbered import Run

#: Faults that an error lists, of all that were found.
SHOWN = 10


class ListError(ValueError):
    """A list or an index file has lines that are refused. The message names them."""


@dataclass(frozen=True)
class Source:
    """A list of videos and how to read it.

    Attributes
    ----------
    path : Path
        The list, or the folder of the classes.
    root : Path or None
        Folder that paths in the list are relative to. The default is the list's own folder.
    separator : str or None
        Between path and label. The default is the format's.
    names : tuple of str or None
        Name of each label.
    classes : int or None
        Number of labels, where their names are not known.
    split : str or None
        Of a list or folder with several, the one that is read.
    """

    path: Path
    root: Path | None = None
    separator: str | None = None
    names: tuple[str, ...] | None = None
    classes: int | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ValueError("separator must be at least one character; received ''")
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"classes must be at least 1; received {self.classes}")
        if self.names is not None and self.classes not in (None, len(self.names)):
            raise ValueError(
                f"names must be {self.classes}, one a class; received {len(self.names)}"
            )

    @property
    def folder(self) -> Path:
        """Folder that paths in the list are relative to."""
        if self.root is not None:
            return self.root
        return self.path if self.path.is_dir() else self.path.parent

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that is not blank."""
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, line.strip()
        except UnicodeDecodeError as error:
            raise ListError(f"{self.path} must be text in UTF-8: {error}") from None


@dataclass(frozen=True)
class Entry:
    """One video of a list.

    Attributes
    ----------
    line : int
        Of the list. 0 if there is no list.
    path : str
        Relative to the source's folder.
    labels : tuple of ints
        Of the whole video.
    actions : tuple of (label, start, end), or None
        Labels of parts, in seconds.
    intervals : tuple of (label, first, last), or None
        Labels of parts, in frames.
    images : tuple of runs
        Names of the images in the folder `path`.
    """

    line: int
    path: str
    labels: tuple[int, ...] = ()
    actions: tuple[tuple[int, Fraction, Fraction], ...] | None = None
    intervals: tuple[tuple[int, int, int], ...] | None = None
    images: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Videos of a list, the folder their paths are relative to, and the name of each label."""

    entries: tuple[Entry, ...]
    root: Path
    names: tuple[str, ...]


@dataclass
class Faults:
    """Lines that are refused, gathered so that one error names them all."""

    path: Path
    found: list[str] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        self.found.append(f"line {line}: {message}" if line else message)

    def check(self) -> None:
        """Raise a ListError if there is one."""
        if self.found:
            more = len(self.found) - SHOWN
            shown = self.found[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise ListError(f"{self.path} is refused\n  " + "\n  ".join(shown))


def whole_number(text: str) -> int:
    """A label as an int, at least 0."""
    if not re.fullmatch("[0-9]+", text.strip(), re.ASCII):
        raise ValueError(f"a label must be a whole number from 0 on; received {text!r}")
    return int(text)


def numbered_names(source: Source, entries: Sequence[Entry], faults: Faults) -> tuple[str, ...]:
    """Names of labels that are numbers in the list: the given ones, or the numbers themselves."""
    used = [(entry, label) for entry in entries for label in _labels(entry)]
    names = source.names
    if names is None:
        greatest = max((label for _, label in used), default=-1)
        count = greatest + 1 if source.classes is None else source.classes
        names = tuple(str(label) for label in range(count))
    for entry, label in used:
        if label >= len(names):
            faults.add(
                entry.line,
                f"{entry.path} must have labels from 0 to {len(names) - 1}; received {label}",
            )
    return names


def _labels(entry: Entry) -> Iterator[int]:
    yield from entry.labels
    yield from (label for label, *_ in (*(entry.actions or ()), *(entry.intervals or ())))


def named_numbers(
    source: Source, used: Sequence[tuple[int, str]], faults: Faults
) -> dict[str, int]:
    """Number of each label name in lines (number, name): the given order, or the alphabet's."""
    names = source.names if source.names is not None else sorted({name for _, name in used})
    numbers = {name: number for number, name in enumerate(names)}
    for line, name in used:
        if name not in numbers:
            faults.add(line, f"label {name!r} must be one of the {len(names)} given names")
    return numbers


def distinct(entries: Sequence[Entry], faults: Faults) -> None:
    """Add a fault for each video that is listed a second time."""
    first: dict[tuple, int] = {}
    for entry in entries:
        line = first.setdefault((entry.path, entry.images), entry.line)
        if line != entry.line:
            faults.add(entry.line, f"{entry.path} is also on line {line}")
