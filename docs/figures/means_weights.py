"""The weights that non-local means gives all pixels of a photograph, for one of them."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.lib.stride_tricks import sliding_window_view

with get_sample_data("grace_hopper.jpg") as file:
    photo = plt.imread(file, format="jpg").mean(-1)[40:340:2, 100:400:2] / 255  # (150, 150)
sigma, h, size, pixel = 0.04, 0.08, 7, (112, 38)
noisy = photo + sigma * np.random.default_rng(0).standard_normal(photo.shape)
padded = np.pad(noisy, size // 2, mode="reflect")
patches = sliding_window_view(padded, (size, size))  # (H, W, size, size)
distance = np.square(patches - patches[pixel]).mean((-2, -1))
weight = np.exp(-np.maximum(distance - 2 * sigma**2, 0) / h**2)  # (H, W)

plt.rcParams.update({"text.color": "0.5", "ytick.color": "0.5"})  # for light and dark pages
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
left.imshow(noisy, cmap="gray", vmin=0, vmax=1)
left.plot(*pixel[::-1], "o", markersize=11, markerfacecolor="none", color="C1", markeredgewidth=2)
left.set_title("a pixel")
shown = right.imshow(weight, cmap="magma", vmin=0, vmax=1)
right.plot(*pixel[::-1], "o", markersize=11, markerfacecolor="none", color="C0", markeredgewidth=2)
right.set_title("the weights of all others")
for axis in (left, right):
    axis.axis("off")
figure.colorbar(shown, ax=right, shrink=0.8)
