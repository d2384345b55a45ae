"""Charades: its own table of actions, and SlowFast's list of frames."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from fractions import Fraction

from nlcore.video.labels.kinetics import table
from nlcore.video.labels.listing import (
    Entry,
    Faults,
    ListError,
    Listing,
    Source,
    distinct,
    numbered_names,
    whole_number,
)
from nlcore.video.labels.numbered import Run, append, runs_of
from nlcore.video.reading import images_of

CLASSES = 157
HEADER = "original_vido_id video_id frame_id path labels"


def charades(source: Source) -> Listing:
    """Columns id, actions = `c092 11.90 21.20;c147 0.00 12.60`, which are classes and seconds.

    A video is the file `id.mp4` or the folder `id` of its frames as JPEG images.
    """
    faults, entries = Faults(source.path), []
    rows = table(source, ("id", "actions"))
    if not rows:
        faults.add(0, "the list must have rows; received none")
    for line, row in rows:
        try:
            if not row["id"]:
                raise ValueError("must have an id; received none")
            actions = _actions(row["actions"])
        except ValueError as error:
            faults.add(line, str(error))
            continue
        folder, images = source.folder / row["id"], tuple[Run, ...]()
        if folder.is_dir():
            images = runs_of(path.name for path in images_of(folder))
        path = row["id"] if folder.is_dir() else f"{row['id']}.mp4"
        entries.append(Entry(line, path, actions=actions, images=images))
    distinct(entries, faults)
    names = source.names
    if names is None:
        names = tuple(f"c{label:03d}" for label in range(source.classes or CLASSES))
    for entry in entries:
        for label, *_ in entry.actions or ():
            if label >= len(names):
                faults.add(entry.line, f"class c{label:03d} must be below c{len(names):03d}")
    faults.check()
    return Listing(tuple(entries), source.folder, names)


def _actions(text: str) -> tuple[tuple[int, Fraction, Fraction], ...]:
    """Class, start and end in seconds of each action."""
    found = []
    for action in filter(None, text.split(";")):
        match = re.fullmatch(r"c([0-9]+) ([0-9.]+) ([0-9.]+)", action.strip(), re.ASCII)
        try:
            if match is None:
                raise ValueError
            found.append((int(match[1]), Fraction(match[2]), Fraction(match[3])))
        except ValueError:
            raise ValueError(
                f"an action must be a class, a start and an end such as 'c092 11.90 21.20'; "
                f"received {action!r}"
            ) from None
    return tuple(found)


@dataclass
class _Frames:
    """The frames of one video in the order of the list."""

    line: int
    folder: str
    count: int = 0
    images: list[Run] = field(default_factory=list)
    #: label -> its intervals, the last of which may still grow
    intervals: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, name: str, labels: set[int]) -> None:
        append(self.images, name)
        for label in labels:
            known = self.intervals.setdefault(label, [])
            if known and known[-1][1] == self.count - 1:
                known[-1] = known[-1][0], self.count
            else:
                known.append((self.count, self.count))
        self.count += 1

    def entry(self) -> Entry:
        intervals = [(label, *ends) for label, known in self.intervals.items() for ends in known]
        return Entry(
            self.line,
            self.folder,
            intervals=tuple(sorted(intervals)),
            images=tuple(self.images),
        )


def slowfast_charades(source: Source) -> Listing:
    """SlowFast's frames of Charades: a first line with names, then one line a frame.

    `original_vido_id video_id frame_id path labels`, labels `"1,2"` or `""`. Frames of a video are
    in the order of the list, as SlowFast has them. All of its images are in one folder. SlowFast
    itself refuses paths with spaces.
    """
    faults, videos = Faults(source.path), dict[str, _Frames]()
    lines = source.lines()
    _, header = next(lines, (0, ""))
    if header.split() != HEADER.split():
        raise ListError(f"{source.path} must have the first line {HEADER!r}; received {header!r}")
    for line, text in lines:
        try:
            video, path, labels = _frame(text)
            folder, name = posixpath.split(path)
            frames = videos.setdefault(video, _Frames(line, folder))
            if folder != frames.folder:
                raise ValueError(
                    f"images of {video} must be in {frames.folder!r}, as on line {frames.line}; "
                    f"received {path!r}"
                )
        except ValueError as error:
            faults.add(line, str(error))
        else:
            frames.add(name, labels)
    if not videos and not faults.found:
        faults.add(0, "the list must have lines of frames; received none")
    entries = tuple(frames.entry() for frames in videos.values())
    if source.names is None and source.classes is None:
        source = Source(source.path, source.root, classes=CLASSES)
    names = numbered_names(source, entries, faults)
    faults.check()
    return Listing(entries, source.folder, names)


def _frame(text: str) -> tuple[str, str, set[int]]:
    """Video, path and labels of a line."""
    match = re.fullmatch(r'(\S+)\s+\S+\s+\S+\s+(\S.*?)\s+"?([0-9,]*)"?', text, re.ASCII)
    if match is None or (not match[3] and not text.endswith('""')):
        raise ValueError(f"must be {HEADER!r}; received {text!r}")
    labels = match[3].split(",") if match[3] else []
    return match[1], match[2], {whole_number(label) for label in labels}
