"""The index file: a header line, then one line of JSON per video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nlcore.video.labels.listing import Faults, ListError
from nlcore.video.labels.videos import Index, Video, files_of

#: Version of the file's form.
VERSION = 1
#: The header's keys.
HEADER = {"nlcore_video_index": int, "format": str, "root": str, "names": list, "videos": int}
#: Keys of a video and their types. Those with a default are left out where they have it.
KEYS = {
    "path": str,
    "frames": int,
    "fps": float,
    "width": int,
    "height": int,
    "size": int,
    "modified": int,
    "labels": list,
    "intervals": list,
    "images": list,
}
OPTIONAL = {"labels": (), "intervals": None, "images": ()}


def write_index(path: Path, index: Index) -> None:
    """Write an index aside, then rename it: there is never half an index at `path`."""
    header = {
        "nlcore_video_index": VERSION,
        "format": index.format,
        "root": str(index.root.absolute()),
        "names": index.names,
        "videos": len(index.videos),
    }
    records = ({k: v for k, v in asdict(video).items() if _is_set(k, v)} for video in index.videos)
    write_lines(path, [header, *records])


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines aside, then rename the file."""
    aside = path.with_name(f"{path.name}.new")
    with aside.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")  # ASCII, so that any name of a file fits
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _is_set(key: str, value: object) -> bool:
    return key not in OPTIONAL or value != OPTIONAL[key]


def read_index(path: Path | str, root: Path | str | None = None, check: bool = True) -> Index:
    """Read an index file and check it.

    Parameters
    ----------
    path : path
        Of the index file.
    root : path or None
        Folder of the videos, where they are not where they were indexed.
    check : bool
        Whether to look at every file: is it there, with the size and time of modification that
        the index states?

    Raises
    ------
    ListError
        The file is not an index, is damaged or cut off, or videos are missing, have changed or
        have labels without a name. The error names them and their lines.
    OSError
        The index does not exist or cannot be read.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ListError(f"{path} must be text in UTF-8: {error}") from None
    header = _header(path, lines[0] if lines else "")
    folder, names = Path(header["root"] if root is None else root), tuple(header["names"])
    faults, videos = Faults(path), []
    for number, line in enumerate(lines[1:], 2):
        try:
            video = _video(line)
            _check_labels(video, names)
            if check:
                check_file(video, folder)
            videos.append(video)
        except (ValueError, OSError) as error:
            faults.add(number, str(error))
    if len(lines) - 1 != header["videos"]:
        faults.add(0, f"must have {header['videos']} videos; received {len(lines) - 1} lines")
    faults.check()
    return Index(header["format"], names, folder, tuple(videos))


def is_index(path: Path) -> bool:
    """Whether a file begins as an index."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return "nlcore_video_index" in file.readline(100)


def _header(path: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
        if not isinstance(header, dict) or "nlcore_video_index" not in header:
            raise ValueError
    except ValueError:
        raise ListError(
            f"{path} must be an index, made by `nlcore-video index`; received the first line "
            f"{line[:60]!r}"
        ) from None
    if header["nlcore_video_index"] != VERSION:
        raise ListError(
            f"{path} must have version {VERSION}; received {header['nlcore_video_index']}"
        )
    try:
        _check_keys(header, HEADER, ())
    except ValueError as error:
        raise ListError(f"{path}: the header {error}") from None
    return header


def _check_keys(record: object, types: dict[str, type], optional: Iterable[str]) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"must be an object of JSON; received {record!r}")
    missing = [key for key in types if key not in record and key not in optional]
    extra = [key for key in record if key not in types]
    if missing or extra:
        raise ValueError(f"must have the keys {', '.join(types)}; missing {missing}, extra {extra}")
    for key, value in record.items():
        if type(value) is not types[key]:
            raise ValueError(f"{key} must be {types[key].__name__}; received {value!r}")


def _video(line: str) -> Video:
    """A video from its line."""
    try:
        record = json.loads(line)
    except ValueError:
        raise ValueError(f"must be JSON; received {line[-60:]!r}") from None
    _check_keys(record, KEYS, OPTIONAL)
    for key in ("frames", "fps", "width", "height"):
        if not record[key] > 0:
            raise ValueError(f"{record['path']}: {key} must be above 0; received {record[key]}")
    lists = {key: _frozen(record[key]) for key in OPTIONAL if key in record}
    return Video(**{**record, **lists})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _check_labels(video: Video, names: tuple[str, ...]) -> None:
    for interval in video.intervals or ():
        if not (isinstance(interval, tuple) and len(interval) == 3):
            raise ValueError(
                f"{video.path} must have intervals [label, first, last]; received {interval!r}"
            )
    labels = (*video.labels, *(label for label, *_ in video.intervals or ()))
    for label in labels:
        if not isinstance(label, int) or not 0 <= label < len(names):
            raise ValueError(
                f"{video.path} must have labels from 0 to {len(names) - 1}; received {label!r}"
            )
    for label, first, last in video.intervals or ():
        if not 0 <= first <= last < video.frames:
            raise ValueError(
                f"{video.path} must have label {label} at frames from 0 to {video.frames - 1}; "
                f"received {first} to {last}"
            )


def state_of(files: Iterable[Path]) -> tuple[int, int]:
    """Bytes of a video's files and the latest time of modification, in ns.

    Raises an OSError if one does not exist.
    """
    states = [file.stat() for file in files]
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)


def check_file(video: Video, root: Path) -> None:
    """Raise a ValueError if the files of a video have changed since it was indexed.

    Raises an OSError if one does not exist.
    """
    size, modified = state_of(files_of(root, video.path, video.images))
    if size != video.size:
        raise ValueError(
            f"{video.path} must have {video.size} bytes, as when it was indexed; received {size}. "
            "Index the videos again"
        )
    if modified != video.modified:
        raise ValueError(
            f"{video.path} has changed since it was indexed: its time of modification must be "
            f"{video.modified} ns; received {modified}. Index the videos again"
        )
