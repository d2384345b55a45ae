"""Lists of one video a line: its path, then its label or labels."""

from __future__ import annotations

import re
from collections.abc import Callable

from nlcore.video.labels.listing import (
    Entry,
    Faults,
    Listing,
    Source,
    distinct,
    numbered_names,
    whole_number,
)


def slowfast(source: Source) -> Listing:
    """SlowFast: `path label`, split at the last separator (by default a space).

    SlowFast itself splits at every separator and refuses paths that contain it.
    """
    separator = source.separator or " "

    def split(line: str) -> tuple[str, list[str]]:
        path, found, label = line.rpartition(separator)
        return path, [label] if found else []

    return _listing(source, split, "path label", separator)


def pytorchvideo(source: Source) -> Listing:
    """pytorchvideo: `path label`, split at the last space or tab (by default).

    pytorchvideo itself gives a line without label the label -1. Here it is refused.
    """

    def split(line: str) -> tuple[str, list[str]]:
        path, *label = line.rsplit(source.separator, 1)
        return path, label

    return _listing(source, split, "path label", source.separator or "a space")


def mmaction2(source: Source) -> Listing:
    """mmaction2: `path label[ label...]`; all whole numbers at the end of a line are labels.

    mmaction2 itself splits at every separator and refuses paths that contain it.
    """
    separator = r"\s+" if source.separator is None else re.escape(source.separator)
    pattern = re.compile(rf"(.*?)((?:{separator}\s*[0-9]+)+)", re.ASCII)

    def split(line: str) -> tuple[str, list[str]]:
        match = pattern.fullmatch(line)
        return (match[1], re.findall("[0-9]+", match[2])) if match else (line, [])

    return _listing(source, split, "path label[ label...]", source.separator or "a space")


def _listing(
    source: Source, split: Callable[[str], tuple[str, list[str]]], form: str, separator: str
) -> Listing:
    faults, entries = Faults(source.path), []
    for number, line in source.lines():
        path, words = split(line)
        try:
            labels = tuple(whole_number(word) for word in words)
            if not path.strip() or not labels:
                raise ValueError(f"must be {form!r}, separated by {separator!r}; received {line!r}")
            if len(set(labels)) < len(labels):
                raise ValueError(f"labels must differ; received {line!r}")
        except ValueError as error:
            faults.add(number, str(error))
        else:
            entries.append(Entry(number, path.strip(), labels))
    if not entries and not faults.found:
        faults.add(0, f"the list must have lines {form!r}; received none")
    distinct(entries, faults)
    names = numbered_names(source, entries, faults)
    faults.check()
    return Listing(tuple(entries), source.folder, names)
