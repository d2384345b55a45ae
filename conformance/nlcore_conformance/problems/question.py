"""Which problems a check asks a backend to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nlcore import NonLocalSpec
from nlcore_conformance.problems.numbers import DATA

#: Memory layouts of most checks. "memory layout" asks for the others.
USUAL_LAYOUTS = ("contiguous", "channels_last", "strided")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which problems a check asks a backend to compute.

    Attributes
    ----------
    name : str
        The check's name.
    applies : callable
        Whether the check asks about a spec.
    weight : float
        The number of examples is this many times that of the profile.
    named, long : bool
        Whether it asks the named problems too, and those at length.
    training : bool
        Whether batch normalization uses the batch's statistics.
    gradient : bool
        Whether it asks for gradients, so that the backend must have block_vjp.
    data, layouts : tuple of str
        Kinds of numbers, and memory layouts of x, that are drawn.
    """

    name: str
    applies: Callable[[NonLocalSpec], bool] = lambda spec: True
    weight: float = 1.0
    named: bool = False
    long: bool = False
    training: bool = False
    gradient: bool = False
    data: tuple[str, ...] = DATA
    layouts: tuple[str, ...] = USUAL_LAYOUTS
