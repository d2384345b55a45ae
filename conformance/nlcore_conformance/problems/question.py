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
    initial : bool
        Whether it asks for the weights of a new block, so that the backend must have `initial`.
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
    initial: bool = False
    data: tuple[str, ...] = DATA
    layouts: tuple[str, ...] = USUAL_LAYOUTS

    @property
    def needs(self) -> str:
        """The method that the backend must have, in addition to those that it may have."""
        return "block_vjp" if self.gradient else "initial" if self.initial else "block"
