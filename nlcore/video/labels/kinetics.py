"""Kinetics' own tables."""

from __future__ import annotations

import csv

from nlcore.video.labels.listing import (
    Entry,
    Faults,
    ListError,
    Listing,
    Source,
    distinct,
    named_numbers,
)

COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def kinetics(source: Source) -> Listing:
    """Columns label, youtube_id, time_start, time_end, split; files `id_start_end.mp4`.

    Start and end are whole seconds of 6 digits in a file's name. A file may lie in a folder with
    the label's name, in which spaces may be underscores.
    """
    rows = table(source, COLUMNS)
    splits = sorted({row["split"] for _, row in rows if row.get("split")})
    if source.split is None and len(splits) > 1:
        raise ListError(
            f"{source.path} has the splits {', '.join(splits)}; split must be one of them"
        )
    if source.split is not None:
        rows = [(line, row) for line, row in rows if row.get("split") == source.split]
    faults, entries = Faults(source.path), []
    if not rows:
        split = f" of split {source.split!r}" if source.split else ""
        faults.add(0, f"the list must have rows{split}; received none")
    for line, row in rows:
        if not row["label"]:
            faults.add(line, f"{row['youtube_id']} must have a label; received none")
    labelled = [(line, row) for line, row in rows if row["label"]]
    numbers = named_numbers(source, [(line, row["label"]) for line, row in labelled], faults)
    for line, row in labelled:
        try:
            path = _path(source, row)
        except ValueError as error:
            faults.add(line, str(error))
        else:
            entries.append(Entry(line, path, (numbers.get(row["label"], 0),)))
    distinct(entries, faults)
    faults.check()
    return Listing(tuple(entries), source.folder, tuple(numbers))


def _path(source: Source, row: dict[str, str]) -> str:
    """The row's file, where there is one, or where it is looked for first."""
    times = row["time_start"], row["time_end"]
    if not row["youtube_id"] or not all(time.isdecimal() for time in times):
        raise ValueError(
            "youtube_id, time_start and time_end must be an id and two whole numbers; received "
            f"{row['youtube_id']!r}, {times[0]!r} and {times[1]!r}"
        )
    start, end = map(int, times)
    if end <= start:
        raise ValueError(f"time_end must be after time_start; received {start} and {end}")
    name = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
    label = row["label"]
    places = (name, f"{label}/{name}", f"{label.replace(' ', '_')}/{name}")
    return next((place for place in places if (source.folder / place).is_file()), name)


def table(source: Source, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row of a CSV file with a header."""
    lines = list(source.lines())
    reader = csv.DictReader(line for _, line in lines)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ListError(
            f"{source.path} must have a first line with the columns {', '.join(columns)}; "
            f"received none named {', '.join(missing)}"
        )
    rows, faults = [], Faults(source.path)
    for row in reader:
        line = lines[reader.line_num - 1][0]
        if None in row or None in row.values():
            faults.add(
                line, f"must have {len(reader.fieldnames or ())} fields; received {_count(row)}"
            )
        rows.append((line, {name: (value or "").strip() for name, value in row.items() if name}))
    faults.check()
    return rows


def _count(row: dict) -> int:
    extra = len(row.get(None) or ())
    return extra + sum(value is not None for name, value in row.items() if name is not None)
