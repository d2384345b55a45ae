"""Names of a video's images, many of which differ only in a number, as a few runs."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Images whose names count up: what is before the number, its digits at least, the first and the
#: last number, what is after it. A name without a number has -1 digits.
Run = tuple[str, int, int, int, str]


def runs_of(names: Iterable[str]) -> tuple[Run, ...]:
    """Names in their order as runs.

    >>> runs_of(["a-08.jpg", "a-09.jpg", "a-10.jpg", "b.jpg"])
    (('a-', 2, 8, 10, '.jpg'), ('b.jpg', -1, 0, 0, ''))
    """
    found: list[Run] = []
    for name in names:
        append(found, name)
    return tuple(found)


def append(runs: list[Run], name: str) -> None:
    """Append a name to runs: the last one gets longer, or a new one begins."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", name, re.DOTALL)
    if match is None:
        runs.append((name, -1, 0, 0, ""))
        return
    before, number, after = match.groups()
    if runs:
        start, digits, first, last, end = runs[-1]
        if digits >= 0 and name == _name(start, digits, last + 1, end):
            runs[-1] = (start, digits, first, last + 1, end)
            return
    runs.append((before, len(number), int(number), int(number), after))


def names_of(runs: Iterable[Run]) -> list[str]:
    """The names again.

    >>> names_of([("a-", 2, 8, 10, ".jpg"), ("b.jpg", -1, 0, 0, "")])
    ['a-08.jpg', 'a-09.jpg', 'a-10.jpg', 'b.jpg']
    """
    return [
        _name(before, digits, number, after)
        for before, digits, first, last, after in runs
        for number in range(first, last + 1)
    ]


def _name(before: str, digits: int, number: int, after: str) -> str:
    return before if digits < 0 else f"{before}{number:0{digits}d}{after}"
