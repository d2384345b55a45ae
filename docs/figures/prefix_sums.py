"""The pairs that the ReLU keeps, with the keys sorted, and the prefix sums that are read."""

import matplotlib.pyplot as plt
import numpy as np

rng = np.random.default_rng(3)
a, b = (np.sort(rng.normal(size=size))[::-1] for size in (12, 24))
g = rng.normal(size=24)
kept = a[:, None] + b > 0  # (N, M)
count = kept.sum(1)  # k_i
sums = [np.concatenate([[0.0], np.cumsum(values)]) for values in (g, b * g)]  # (M + 1,) each

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.imshow(np.where(kept, a[:, None] + b, np.nan), cmap="viridis", aspect="auto")
left.set(
    xlabel="keys j, by $b_j$ from large to small",
    ylabel="positions i, by $a_i$ from large to small",
    xticks=[],
    yticks=[],
)
left.set_title("$a_i + b_j$ where the ReLU keeps it: the first $k_i$ keys")
for i, k in enumerate(count):
    left.text(k + 0.1, i, f"$k={k}$", va="center", fontsize=8, color="0.4")

for values, name, colour in zip(
    sums, ("$G = \\sum g$", "$H = \\sum b g$"), ("C0", "C1"), strict=True
):
    right.step(range(25), values, where="mid", color=colour, label=name)
    right.plot(count, values[count], "o", color=colour, markersize=4)
right.set(xlabel="k, how many keys are summed", title="$y_i = (a_i\\, G[k_i] + H[k_i]) / M$")
right.legend(frameon=False)
right.grid(alpha=0.3)
