"""What one output is computed from: a convolution, a recurrence, a full connection, non-local."""

import matplotlib.pyplot as plt
import numpy as np

N, ONE = 9, 4  # positions, and the one whose output is drawn
rng = np.random.default_rng(5)
LEARNED, COMPUTED = "C0", "C1"
figure, axes = plt.subplots(2, 2, figsize=(9, 5.2), layout="constrained")


def panel(axis, title, links, state=False):
    """Inputs below, outputs above, and lines (j, height, colour, width) to the output ONE."""
    for j, colour, width in links:
        axis.plot([j, ONE], [0.12, 0.88], color=colour, linewidth=width, zorder=1)
    if state:
        for j in range(ONE):
            axis.annotate(
                "",
                (j + 0.82, 1),
                (j + 0.18, 1),
                arrowprops={"arrowstyle": "->", "color": LEARNED, "linewidth": 2},
            )
    axis.scatter(range(N), [0] * N, s=150, color="0.75", zorder=2)
    axis.scatter(range(N), [1] * N, s=150, facecolor="white", edgecolor="0.6", zorder=2)
    axis.scatter([ONE], [1], s=190, color="0.2", zorder=3)
    axis.set_title(title, fontsize="medium")
    axis.set(xlim=(-0.6, N - 0.4), ylim=(-0.25, 1.25))
    axis.axis("off")


same = (2.5, 1.2, 2.5)
panel(
    axes[0, 0],
    "convolution: neighbours, learned weights",
    [(ONE + d, LEARNED, w) for d, w in zip((-1, 0, 1), same, strict=True)],
)
panel(axes[0, 1], "recurrence: the step before, again and again", [(ONE, LEARNED, 2.0)], state=True)
panel(
    axes[1, 0],
    "fully connected: all, a learned weight for each place",
    [(j, LEARNED, w) for j, w in enumerate(rng.uniform(0.5, 3, N))],
)
look = np.array([0.4, 3.5, 0.5, 0.4, 2.0, 0.4, 0.5, 3.8, 0.4])
panel(
    axes[1, 1],
    "non-local: all, weights computed from the data",
    [(j, COMPUTED, w) for j, w in enumerate(look)],
)
for axis in axes[0]:
    axis.text(-0.55, -0.22, "input", fontsize="small", color="0.5")
    axis.text(-0.55, 1.14, "output", fontsize="small", color="0.5")
