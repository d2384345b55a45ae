"""Making an index: every video is decoded once, in processes, and a run that stops goes on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from nlcore.video.decoding import Measured, decoded_image, measured, same_size
from nlcore.video.labels.index_file import is_index, read_index, state_of, write_index, write_lines
from nlcore.video.labels.listing import Entry, Listing
from nlcore.video.labels.numbered import Run
from nlcore.video.labels.pool import results
from nlcore.video.labels.videos import Index, Video, files_of

#: Frames a second of images, which state none: those of Charades.
IMAGE_FPS = 24.0


class Skipped(NamedTuple):
    """A video, or one of its actions, that is not in the index, and why."""

    line: int
    path: str
    reason: str
    action: str | None = None


@dataclass(frozen=True)
class Summary:
    """The result of `make_index`.

    Attributes
    ----------
    index : Index
        As it was written.
    skipped : tuple of Skipped
        Videos that cannot be decoded.
    dropped : tuple of Skipped
        Actions that no frame of their video has.
    decoded, known : int
        Number of videos that this run decoded, and that earlier runs had decoded.
    """

    index: Index
    skipped: tuple[Skipped, ...]
    dropped: tuple[Skipped, ...]
    decoded: int
    known: int


class _Task(NamedTuple):
    """A video to decode: its place in the list, where it is, and the state of its files."""

    number: int
    root: Path
    path: str
    images: tuple[Run, ...]
    image_fps: float
    state: tuple[int, int]


def make_index(
    listing: Listing,
    path: Path | str,
    format: str,
    workers: int | None = None,
    image_fps: float = IMAGE_FPS,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Decode every video of a list once, and write the index file.

    A video that cannot be decoded is not in the index. `NAME.skipped.jsonl` beside the index
    `NAME.jsonl` names it with the reason, as it names actions that no frame has. Results are
    stored in `NAME.part.jsonl` as they come, so that an interrupted run goes on. Files that an
    index at `path` already lists are decoded again only if they have changed.

    Parameters
    ----------
    listing : Listing
        From `read_list`.
    path : path
        Of the index file.
    format : str
        Name of the list's format, for the header.
    workers : int or None
        Number of processes; by default one a processor. 0 decodes in this process.
    image_fps : float
        Frames a second of videos that are folders of images.
    tell : function
        Called with how many videos are done, of how many.

    Raises
    ------
    ValueError
        An argument is out of range.
    OSError
        `path` is a file that is no index, or cannot be written.
    """
    path = Path(path)
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be at least 0; received {workers}")
    if not image_fps > 0:
        raise ValueError(f"image_fps must be above 0; received {image_fps}")
    if path.exists() and not is_index(path):
        raise FileExistsError(f"{path} exists and is not an index; it is not replaced")
    part = beside(path, "part")
    known = {**_known_from_index(path), **_known_from_part(part)}
    found, tasks = _tasks(listing, known, image_fps)
    total, before = len(listing.entries), len(found)
    tell(before, total)
    if tasks:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        count = workers if workers is not None else processors or os.cpu_count() or 1
        with _appending(part) as file:
            for task, result in results(_measure, tasks, min(count, len(tasks))):
                record = _result(task, result)
                entry = listing.entries[task.number]
                file.write(json.dumps([entry.path, entry.images, *task.state, record]) + "\n")
                file.flush()
                found[task.number] = task.state, record
                tell(len(found), total)
    summary = _summary(listing, format, found, len(tasks))
    write_index(path, summary.index)
    _write_skipped(beside(path, "skipped"), [*summary.skipped, *summary.dropped])
    part.unlink(missing_ok=True)
    return summary


def index_of_files(paths: Iterable[Path | str]) -> Index:
    """An index of video files without labels, each decoded once: label 0 stands for the unknown.

    Raises
    ------
    ValueError, OSError
        A file cannot be decoded.
    """
    videos = []
    for path in map(Path, paths):
        state = state_of([path])
        videos.append(Video(str(path.absolute()), *measured(path), *state, labels=(0,)))
    return Index("files", ("unknown",), Path(), tuple(videos))


def beside(path: Path, kind: str) -> Path:
    """NAME.kind.jsonl beside NAME.jsonl."""
    return path.with_name(f"{path.stem}.{kind}.jsonl")


#: Path and images -> size, time of modification, and Measured's fields or the reason for none.
_Known = dict[tuple[str, tuple[Run, ...]], tuple[tuple[int, int], Any]]


def _known_from_index(path: Path) -> _Known:
    if not path.exists():
        return {}
    return {
        (v.path, v.images): ((v.size, v.modified), [v.frames, v.fps, v.width, v.height])
        for v in read_index(path, check=False).videos
    }


def _known_from_part(part: Path) -> _Known:
    known: _Known = {}
    if part.exists():
        for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                path, images, size, modified, record = json.loads(line)
            except ValueError:
                continue  # the run stopped while it wrote this line
            known[path, tuple(map(tuple, images))] = (size, modified), record
    return known


def _appending(part: Path) -> TextIO:
    """The file of results, at the beginning of a line."""
    torn = part.exists() and not (b"\n" + part.read_bytes()).endswith(b"\n")
    file = part.open("a", encoding="utf-8")
    file.write("\n" if torn else "")
    return file


def _tasks(
    listing: Listing, known: _Known, image_fps: float
) -> tuple[dict[int, tuple[tuple[int, int], Any]], list[_Task]]:
    """What is known of the list's videos, by their number, and what is to be decoded."""
    found: dict[int, tuple[tuple[int, int], Any]] = {}
    tasks = []
    for number, entry in enumerate(listing.entries):
        try:
            state = state_of(files_of(listing.root, entry.path, entry.images))
        except OSError as error:
            found[number] = (0, 0), f"{error.strerror}: {error.filename}"
            continue
        before, record = known.get((entry.path, entry.images), ((0, 0), ""))
        if before == state:
            if entry.images and not isinstance(record, str):
                record = [record[0], image_fps, *record[2:]]
            found[number] = state, record
        else:
            task = _Task(number, listing.root, entry.path, entry.images, image_fps, state)
            tasks.append(task)
    return found, tasks


def _measure(task: _Task) -> Measured | str:
    """What a video is, or the reason why it cannot be decoded."""
    files = files_of(task.root, task.path, task.images)
    try:
        if not task.images:
            return measured(files[0])
        size = (0, 0)
        for number, file in enumerate(files):
            image = decoded_image(file)
            shown = (image.width, image.height)
            size = same_size(size if number else shown, shown, number, file.parent)
        return Measured(len(files), task.image_fps, *size)
    except (ValueError, OSError) as error:
        return str(error)


def _result(task: _Task, result: Measured | str | None) -> list | str:
    """As it is stored in JSON."""
    if result is None:
        return f"{task.root / task.path} crashes the decoder: its process ended"
    return result if isinstance(result, str) else list(result)


def _summary(
    listing: Listing, format: str, found: dict[int, tuple[tuple[int, int], Any]], decoded: int
) -> Summary:
    videos, skipped, dropped = [], [], []
    for number, entry in enumerate(listing.entries):
        state, record = found[number]
        if isinstance(record, str):
            skipped.append(Skipped(entry.line, entry.path, record))
            continue
        what = Measured(*record)
        intervals, without = _intervals(entry, what)
        dropped += without
        videos.append(Video(entry.path, *what, *state, entry.labels, intervals, entry.images))
    index = Index(format, listing.names, listing.root, tuple(videos))
    known = len(listing.entries) - decoded - sum(found[n][0] == (0, 0) for n in found)
    return Summary(index, tuple(skipped), tuple(dropped), decoded, known)


def _intervals(
    entry: Entry, what: Measured
) -> tuple[tuple[tuple[int, int, int], ...] | None, list[Skipped]]:
    """Labels with their first and last frame, and actions without a frame.

    Frame k is at k / fps seconds. It has the label of an action from start to end, both included.
    Ends after the video's end are clipped.
    """
    if entry.actions is None:
        return entry.intervals, []
    fps = Fraction(what.fps).limit_denominator(100_000)
    found, without = [], []
    for label, start, end in entry.actions:
        first, last = math.ceil(start * fps), min(math.floor(end * fps), what.frames - 1)
        if first <= last:
            found.append((label, first, last))
        else:
            reason = f"no frame is from {float(start)} to {float(end)} s; the video ends at "
            reason += f"{what.frames / what.fps:.2f} s"
            without.append(Skipped(entry.line, entry.path, reason, f"c{label:03d}"))
    return tuple(found), without


def _write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    records = [{k: v for k, v in each._asdict().items() if v is not None} for each in skipped]
    if records:
        write_lines(path, records)
    else:
        path.unlink(missing_ok=True)
