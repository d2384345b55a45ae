"""The paper's networks for video as data, and what they cost. No framework is imported."""

from nlcore.video.cost import Row, cost
from nlcore.video.network import NetworkSpec, placement
from nlcore.video.report import PlacementReport, placement_report
from nlcore.video.weights import check_network_weights, network_weight_shapes

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
