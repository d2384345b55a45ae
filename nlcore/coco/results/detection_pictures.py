"""Pictures of detections beside what is annotated, with masks and skeletons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlcore.coco.images.annotations import Category
from nlcore.coco.images.image_targets import mask_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Score from which a detection is drawn.
THRESHOLD = 0.5
#: Width of an image in inches.
WIDTH = 6.0


def draw_detections(
    pixels: np.ndarray,
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[Category],
    threshold: float = THRESHOLD,
) -> Figure:
    """Draw an image twice: with its annotations, and with the detections. Needs matplotlib.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    annotations : sequence of dict
        As in COCO's files. Crowds are hatched.
    results : sequence of dict
        Entries of result files for this image, each with the box, and the mask or the keypoints:
        see `merged_results`.
    categories : sequence of Category
    threshold : float
        Lowest score of a detection that is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Two Axes, in units of pixels.
    """
    from matplotlib.figure import Figure

    known = {category.id: category for category in categories}
    shown = [one for one in results if one["score"] >= threshold]
    height, width = pixels.shape[:2]
    figure = Figure((2 * WIDTH, WIDTH * height / width + 0.4), layout="constrained")
    for number, (title, objects) in enumerate(
        (
            (f"annotated: {len(annotations)}", annotations),
            (f"found with a score of {threshold:g} or more: {len(shown)}", shown),
        )
    ):
        axes = figure.add_subplot(1, 2, number + 1)
        axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")
        for place, one in enumerate(objects):
            _draw(axes, one, known[one["category_id"]], f"C{place % 10}", (height, width))
        axes.set(xlim=(0, width), ylim=(height, 0), title=title)
        axes.axis("off")
    return figure


def merged_results(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The results of an image of all kinds, joined: each entry has its box, and mask or keypoints.

    The entries of all kinds are in one order.
    """
    return [
        dict(item for one in same for item in one.items())
        for same in zip(*kinds.values(), strict=True)
    ]


def _draw(
    axes: Axes, one: Mapping[str, Any], category: Category, colour: str, size: tuple[int, int]
) -> None:
    """One object: box, mask, skeleton and name."""
    from matplotlib.patches import Rectangle

    x, y, width, height = one["bbox"]
    crowd = bool(one.get("iscrowd"))
    style: dict[str, Any] = {"hatch": "///", "ls": ":"} if crowd else {}
    axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=colour, lw=1.5, **style))
    if "keypoints" in one:
        _draw_skeleton(axes, np.reshape(one["keypoints"], (-1, 3)), category, colour)
    elif one.get("segmentation") is not None:
        _draw_mask(axes, mask_of(one["segmentation"], *size), colour)
    text = category.name + (f" {one['score']:.2f}" if "score" in one else "")
    box = {"boxstyle": "square, pad=0.15", "color": "black", "alpha": 0.6}
    axes.text(x, y, text + (" (crowd)" if crowd else ""), color="white", fontsize=9, bbox=box)


def _draw_mask(axes: Axes, inside: np.ndarray, colour: str) -> None:
    """The pixels of a mask, half transparent, and their outline."""
    from matplotlib.colors import to_rgba

    height, width = inside.shape
    layer = np.zeros((height, width, 4))
    layer[inside != 0] = to_rgba(colour, 0.5)
    axes.imshow(layer, extent=(0, width, height, 0), interpolation="nearest")
    if inside.any() and not inside.all():
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5  # centres of pixels
        axes.contour(x, y, inside, [0.5], colors=["white"], linewidths=1.0)


def _draw_skeleton(axes: Axes, points: np.ndarray, category: Category, colour: str) -> None:
    """The visible keypoints (K, 3), and lines between those that are joined."""
    seen = points[:, 2] > 0
    for first, second in category.skeleton:
        pair = [first - 1, second - 1]  # they are counted from 1
        if seen[pair].all():
            axes.plot(points[pair, 0], points[pair, 1], "-", color="white", lw=2.5, alpha=0.8)
            axes.plot(points[pair, 0], points[pair, 1], "-", color=colour, lw=1.2)
    axes.plot(points[seen, 0], points[seen, 1], "o", color=colour, mec="white", ms=3.5, mew=0.5)
