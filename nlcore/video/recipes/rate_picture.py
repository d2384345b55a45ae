"""A picture of learning rates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.summary import phases

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Number of iterations at which a rate is drawn, besides those of its changes.
POINTS = 500
#: Largest quotient of the rates that are shown.
SHOWN_RANGE = 1e5


def rate_curve(recipe: Recipe, videos: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and learning rates of a recipe, with a point before and at each change."""
    total = recipe.total_iterations(videos)
    changes = [phase.iteration for phase in phases(recipe, videos)]
    at = {*np.linspace(0, total - 1, min(POINTS, total)).astype(int).tolist(), *changes}
    at |= {change - 1 for change in changes if change}
    iterations = np.array(sorted(at))
    rates = np.array([recipe.learning_rate(int(n), videos) for n in iterations])
    return iterations * recipe.batch / videos, rates


def plot_rates(axes: Axes, recipes: Iterable[Recipe], videos: int | None = None) -> None:
    """Draw the learning rates of recipes against epochs. See `draw_rates`."""
    for number, recipe in enumerate(recipes):
        count = videos or recipe.stated_videos
        if count is None:
            raise ValueError(f"videos must be given: {recipe.name!r} states no number of videos")
        style = ("-", "--", ":", "-.")[number % 4]  # some curves are in the same place
        axes.plot(*rate_curve(recipe, count), style, label=recipe.name)
    axes.set(yscale="log", xlabel="epochs", ylabel="learning rate")
    lowest, highest = axes.get_ylim()
    axes.set_ylim(max(lowest, highest / SHOWN_RANGE), highest)  # a cosine ends near 0
    axes.grid(alpha=0.3)


def draw_rates(recipes: Iterable[Recipe], videos: int | None = None) -> Figure:
    """The learning rates of recipes against epochs. Needs matplotlib.

    Parameters
    ----------
    recipes : iterable of Recipe
    videos : int, optional
        Number of training videos. By default, the number for which each recipe was stated.

    Raises
    ------
    ValueError
        A recipe states no number and none is given.
    """
    from matplotlib.figure import Figure

    figure = Figure((8.0, 4.0), layout="constrained")
    plot_rates(figure.add_subplot(), recipes, videos)
    figure.legend(loc="outside right center", frameon=False)
    return figure
