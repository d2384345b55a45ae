"""The picture of learning rates shows the recipe's own numbers."""

import numpy as np
import pytest

from nlcore.video import RECIPES, recipe
from nlcore.video.recipes.rate_picture import draw_rates, rate_curve


def test_the_curve_has_a_point_before_and_at_each_change():
    found = recipe("paper")
    epochs, rates = rate_curve(found, 256_000)
    at = {round(epoch * 4000): rate for epoch, rate in zip(epochs, rates, strict=True)}
    assert (at[149_999], at[150_000]) == (0.01, 0.001)
    assert (at[299_999], at[300_000], at[399_999]) == (0.001, 0.0001, 0.0001)
    assert np.all(np.diff(epochs) > 0)


def test_short_schedules():
    epochs, rates = rate_curve(recipe("paper", iterations=2), 64)
    assert epochs.tolist() == [0, 1] and rates.tolist() == [0.01, 0.01]


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    figure = draw_rates(RECIPES.values())
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == list(RECIPES)
    assert axes.get_yscale() == "log"
    lowest, highest = axes.get_ylim()
    assert lowest < 1.25e-5 and highest > 0.1  # every step is inside
    figure.savefig(tmp_path / "rates.png")
    one = draw_rates([recipe("paper")], videos=64_000).axes[0].lines[0]
    assert one.get_xdata()[-1] == 399_999 / 1000
    with pytest.raises(ValueError, match="'paper with stated_videos' states no number of videos"):
        draw_rates([recipe("paper", stated_videos=None)])
