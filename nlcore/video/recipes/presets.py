"""Published recipes by name, and recipes that differ from them in some fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import placement
from nlcore.video.recipes.authors import (
    AUTHORS_PLACES,
    CAFFE2,
    CAFFE2_128,
    CHARADES,
    PAPER,
    PAPER_128,
    Stated,
)
from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.overrides import check_fields, with_fields
from nlcore.video.recipes.projects import MMACTION2, PROJECTS_PLACES, SLOWFAST, SLOWFAST_SCRATCH


def _preset(name: str, stated: Stated) -> Recipe:
    values = {field: value for field, (value, _) in stated.items()}
    sources = {field: source for field, (_, source) in stated.items()}
    return Recipe(name=name, sources=sources, **values)


#: Names of places in the sources of recipes -> where they are.
PLACES = {**AUTHORS_PLACES, **PROJECTS_PLACES}
#: Name -> published recipe.
RECIPES: dict[str, Recipe] = {
    name: _preset(name, stated)
    for name, stated in {
        "paper": PAPER,
        "paper_128": PAPER_128,
        "charades": CHARADES,
        "caffe2": CAFFE2,
        "caffe2_128": CAFFE2_128,
        "slowfast": SLOWFAST,
        "slowfast_scratch": SLOWFAST_SCRATCH,
        "mmaction2": MMACTION2,
    }.items()
}


def recipe(preset: str, **overrides: Any) -> Recipe:
    """A published recipe, with fields replaced.

    Parameters
    ----------
    preset : str
        One of `RECIPES`: "paper", "paper_128", "charades", "caffe2", "caffe2_128", "slowfast",
        "slowfast_scratch", "mmaction2".
    **overrides
        Fields of `Recipe`. A mapping for `network` replaces only the fields of the network that it
        contains, and its `block` only those of the block. In it, `blocks` is the number of
        non-local blocks, see `nlcore.video.placement`.

    Raises
    ------
    TypeError, ValueError
        The preset or a field is unknown, or a value is wrong.

    Examples
    --------
    >>> mine = recipe("paper", batch=8, network={"depth": 101, "blocks": 5})
    >>> mine
    <Recipe 'paper with batch, network': batch 8, 400000 iterations, rate 0.01>
    >>> mine.sources["batch"]
    'set by the user. paper: 64'
    """
    if preset not in RECIPES:
        raise ValueError(f"recipe must be one of {tuple(RECIPES)}; received {preset!r}")
    return overridden(RECIPES[preset], overrides)


def overridden(known: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """A recipe with fields replaced. See `recipe`."""
    check_fields(Recipe, overrides, without=("name", "sources"))
    values = dict(overrides)
    if isinstance(values.get("network"), Mapping):
        values["network"] = _network(known.network, values["network"])
    return with_fields(known, values, whole="network")


def _network(known: NetworkSpec, given: Mapping[str, Any]) -> NetworkSpec:
    """The known network with the given fields."""
    names = {f.name for f in fields(NetworkSpec)}
    if unknown := sorted(set(given) - names - {"blocks"}):
        raise TypeError(
            f"network.{unknown[0]} must be blocks or a field of NetworkSpec, {sorted(names)}; "
            f"received {unknown[0]}={given[unknown[0]]!r}"
        )
    changed = dict(given)
    blocks = changed.pop("blocks", None)
    depth = changed.get("depth", known.depth)
    if blocks is not None:
        if "non_local" in changed:
            raise ValueError("network must have blocks or non_local, not both; received both")
        changed["non_local"] = placement(depth, blocks)
    elif depth != known.depth and known.non_local and "non_local" not in changed:
        raise ValueError(
            f"network must have blocks (a number) or non_local (names) for another depth, because "
            f"those of depth {known.depth} are not those of depth {depth}; received neither"
        )
    if isinstance(changed.get("block"), Mapping):
        changed["block"] = {**known.block, **changed["block"]}
    return replace(known, **changed)
