"""Recipes with fields replaced, whose sources tell the values before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

_Recipe = TypeVar("_Recipe")  # a dataclass with a name and sources


def check_fields(kind: type, given: Mapping[str, Any], without: Iterable[str] = ()) -> None:
    """Raise a TypeError unless every name is a field of the dataclass, but for `without`."""
    names = {f.name for f in fields(kind)} - set(without)
    if unknown := sorted(set(given) - names):
        raise TypeError(
            f"{unknown[0]} must be a field of {kind.__name__}, one of {sorted(names)}; received "
            f"{unknown[0]}={given[unknown[0]]!r}"
        )


def with_fields(known: _Recipe, values: Mapping[str, Any], whole: str) -> _Recipe:
    """A recipe with these fields, whose name and sources tell which ones differ.

    The former value of the field `whole`, which is too long for a sentence, is not written.
    """
    given: Any = known
    made: Any = replace(given, **values)
    different = [name for name in values if getattr(made, name) != getattr(given, name)]
    if not different:
        return known
    notes = {
        name: f"set by the user. {given.name}: "
        + (f"another {whole}" if name == whole else str(getattr(given, name)))
        for name in different
    }
    joint = ", " if " with " in given.name else " with "
    name = f"{given.name}{joint}{', '.join(different)}"
    return replace(made, name=name, sources={**given.sources, **notes})
