"""The paper's video networks as data, and their costs. This package imports no framework."""

from nlcore.video.network import NetworkSpec, placement
from nlcore.video.network_cost import Row, cost
from nlcore.video.network_weights import check_network_weights, network_weight_shapes
from nlcore.video.placed_blocks import PlacementReport, placement_report

__all__ = [
    "NetworkSpec",
    "PlacementReport",
    "Row",
    "check_network_weights",
    "cost",
    "network_weight_shapes",
    "placement",
    "placement_report",
]
