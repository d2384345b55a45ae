"""The learning rates of all published recipes against epochs."""

import matplotlib.pyplot as plt

from nlcore.video import RECIPES
from nlcore.video.recipes.rate_picture import plot_rates

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
plot_rates(axes, RECIPES.values())
figure.legend(loc="outside right center", frameon=False)
