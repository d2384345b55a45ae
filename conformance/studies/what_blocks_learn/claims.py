"""What is expected of the trainings, and whether it came out: the first table of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from what_blocks_learn.configurations import BY_NAME
from what_blocks_learn.intervals import Mean
from what_blocks_learn.results import accuracy, paired, percent

Results = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Claim:
    """A sentence, why it is expected, and how it is judged.

    Attributes
    ----------
    text, reason : str
    seen : function
        The number of the results that decides, or None if they are not there.
    holds : function
        Whether the number agrees.
    """

    text: str
    reason: str
    seen: Callable[[Results], Mean | None]
    holds: Callable[[Mean], bool]


def _none_of(task: str, name: str, reason: str) -> Claim:
    return Claim(
        f"{BY_NAME[name].title} gets no group of *{task}* right",
        reason,
        lambda results: accuracy(results, task, name, "groups_right", "groups"),
        lambda found: found.value == 0,
    )


def _more_than_chance(task: str, name: str, chance: float) -> Claim:
    return Claim(
        f"{BY_NAME[name].title} gets more groups of *{task}* right than a coin, {chance:g}%",
        "the paper",
        lambda results: accuracy(results, task, name, "groups_right", "groups"),
        lambda found: found.value - found.half > chance,
    )


def _better(task: str, name: str, other: str, reason: str) -> Claim:
    return Claim(
        f"{BY_NAME[name].title} gets more films of *{task}* right than {BY_NAME[other].title}",
        reason,
        lambda results: paired(results, task, name, other),
        lambda found: found.above,
    )


def _as_good(task: str, name: str, other: str, reason: str) -> Claim:
    return Claim(
        f"{BY_NAME[name].title} and {BY_NAME[other].title} get as many films of *{task}* right",
        reason,
        lambda results: paired(results, task, name, other),
        lambda found: not (found.above or found.below),
    )


SUM = "proof: a sum over frames"
BLIND = "proof: blind to order"
DATA = "Sec. 3.1: weights depend on the data"
START = "Sec. 4.1: a new block is the identity"
#: Percentage of groups of four and of two films that a coin gets right.
FOUR, TWO = 6.25, 25
CLAIMS = (
    _none_of("compare", "c2d", SUM),
    _none_of("compare", "nl5_space", SUM),
    _more_than_chance("compare", "nl5", FOUR),
    _better("compare", "nl5", "nl1_res4", "Table 2c"),
    _better("compare", "nl5", "nl5_time", "Table 2d"),
    _better("compare", "nl5", "i3d_3x1x1", "Table 2e"),
    _better("compare", "nl5_longer", "i3d_longer", "Table 2e"),
    _better("compare", "nl5_i3d", "i3d_3x1x1", "Table 2f"),
    _better("compare", "nl5", "nl5_random", START),
    _better("compare", "nl1_gaussian", "nl1_equal", DATA),
    _better("compare", "nl1_res3", "nl1_equal", DATA),
    _none_of("move", "c2d", BLIND),
    _none_of("move", "nl5", BLIND),
    _more_than_chance("move", "i3d_3x1x1", TWO),
    _better("move", "nl5_i3d", "nl5", "Table 2f"),
    _as_good("flash", "nl5", "c2d", "one frame decides"),
    _better("flash", "nl5_slow", "c2d_slow", "Table 2c"),
    _better("flash", "nl5", "nl5_random", START),
)


def claims_table(results: Results) -> Iterator[str]:
    """A row for each claim: what was seen, and whether it agrees."""
    yield "| expected | because of | seen | confirmed |"
    yield "| --- | --- | ---: | --- |"
    for claim in CLAIMS:
        found = claim.seen(results)
        cells = [claim.text, claim.reason, percent(found), outcome(claim, found)]
        yield "| " + " | ".join(cells) + " |"


def outcome(claim: Claim, found: Mean | None) -> str:
    """Yes or no, if there are two seeds at least."""
    if found is None or math.isnan(found.half):
        return ""
    return "yes" if claim.holds(found) else "**no**"
