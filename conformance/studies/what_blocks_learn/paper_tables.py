"""The rows of the paper's tables, beside which the results are set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTable:
    """A table of arXiv 1711.07971.

    Attributes
    ----------
    name : str
    rows : dict of configuration to str
        The paper's top-1 accuracy with ResNet-50 on Kinetics, "" where it has none. The first row
        is the one that the others are compared with.
    """

    name: str
    rows: dict[str, str]


TABLES = (
    PaperTable(
        "2a",
        {
            "c2d": "71.8",
            "nl1_gaussian": "72.5",
            "nl1_res3": "72.7",
            "nl1_dot_product": "72.9",
            "nl1_concatenation": "72.8",
            "nl1_equal": "",
        },
    ),
    PaperTable(
        "2b",
        {
            "c2d": "71.8",
            "nl1_res2": "72.7",
            "nl1_res3": "72.9",
            "nl1_res4": "72.7",
            "nl1_res5": "72.3",
        },
    ),
    PaperTable(
        "2c",
        {"c2d": "71.8", "nl1_res4": "72.7", "nl5": "73.8", "nl10": "74.3"},
    ),
    PaperTable(
        "2d",
        {"c2d": "71.8", "nl5_space": "72.9", "nl5_time": "73.1", "nl5": "73.8"},
    ),
    PaperTable(
        "2e",
        {
            "c2d": "71.8",
            "i3d_3x3x3": "",
            "i3d_3x1x1": "73.3",
            "i3d_longer": "",
            "nl5": "73.8",
            "nl5_longer": "",
        },
    ),
    PaperTable("2f", {"c2d": "71.8", "i3d_3x1x1": "73.3", "nl5_i3d": "74.9"}),
    PaperTable("2g", {"c2d_32": "73.8", "nl5_32": ""}),
)
