"""Errors in training (dashed) and validation (solid), from evidence_curves.csv."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

CSV = Path("../evidence_curves.csv")  # Sphinx runs this file in its own folder
TASKS = ("compare", "move", "flash")
NAMES = {"c2d": "C2D", "i3d_3x1x1": "I3D", "nl5": "NL C2D", "nl5_i3d": "NL I3D"}


def lines():
    """(task, network, split) -> iterations, errors in percent, halves of their intervals."""
    found = {}
    with CSV.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["task"], row["configuration"], row["split"]
            point = int(row["iteration"]), float(row["error"]), float(row["half"])
            found.setdefault(key, []).append(point)
    return {key: list(zip(*points, strict=True)) for key, points in found.items()}


figure, axes = plt.subplots(1, len(TASKS), figsize=(9, 4), sharey=True, layout="constrained")
colours = {name: f"C{number}" for number, name in enumerate(NAMES)}
for (task, name, split), (at, errors, halves) in lines().items():
    axis, solid = axes[TASKS.index(task)], split == "validation"
    style = {"color": colours[name], "linestyle": "-" if solid else "--", "lw": 1.5 if solid else 1}
    axis.plot(at, errors, label=f"{NAMES[name]}, {split}", **style)
    if solid:
        low, high = ([e + s * h for e, h in zip(errors, halves, strict=True)] for s in (-1, 1))
        axis.fill_between(at, low, high, color=colours[name], alpha=0.15, lw=0)
for axis, task in zip(axes, TASKS, strict=True):
    axis.set(title=task, xlabel="iterations", ylim=(0, 100))
    axis.grid(alpha=0.3)
axes[0].set_ylabel("wrong films (%)")
handles, labels = next((a.get_legend_handles_labels() for a in axes if a.lines), ([], []))
figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small", frameon=False)
