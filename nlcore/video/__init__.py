"""The paper's video networks and recipes as data. This package imports no framework."""

from nlcore.video.network import NetworkSpec
from nlcore.video.network_cost import Row, cost
from nlcore.video.network_layers import placement
from nlcore.video.network_weights import (
    Imported,
    check_network_weights,
    network_weight_shapes,
)
from nlcore.video.placed_blocks import PlacementReport, placement_report
from nlcore.video.recipes import (
    RECIPES,
    Recipe,
    load_recipe,
    recipe,
    recipe_from_json,
    recipe_to_json,
)

__all__ = [
    "RECIPES",
    "Imported",
    "NetworkSpec",
    "PlacementReport",
    "Recipe",
    "Row",
    "check_network_weights",
    "cost",
    "load_recipe",
    "network_weight_shapes",
    "placement",
    "placement_report",
    "recipe",
    "recipe_from_json",
    "recipe_to_json",
]
