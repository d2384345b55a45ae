"""nlcore's time and peak memory as N doubles, from speed.csv: one function for each engine."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

CSV = Path("../speed.csv")  # Sphinx runs this file in its own folder


def pytorch():
    draw("PyTorch ")


def tensorflow():
    draw(" on tensorflow ")


def jax():
    draw(" on jax ")


def draw(engine):
    """Time and peak memory against N, both logarithmic."""
    lines = {}  # (pairwise, direction) -> [(N, seconds, MiB), ...]
    with CSV.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["size"] == "growth" and engine in row["engine"] and row["bytes"]:
                t, h, w = (int(n) for n in row["positions"].split("x"))
                point = (t * h * w, float(row["seconds"]), int(row["bytes"]) / 2**20)
                lines.setdefault((row["pairwise"], row["direction"]), []).append(point)
    if not lines:
        raise ValueError(f"expected rows of size growth with {engine!r}; {CSV} has none")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    colours = {name: f"C{k}" for k, name in enumerate(dict.fromkeys(p for p, _ in lines))}
    for (pairwise, direction), points in lines.items():
        n, seconds, mebibytes = zip(*points, strict=True)
        style = {"color": colours[pairwise], "marker": "."}
        style |= {"linestyle": "-" if direction == "both" else ":"}
        label = f"{pairwise.replace('_', ' ')}, {direction}"
        axes[0].plot(n, seconds, label=label, **style)
        axes[1].plot(n, mebibytes, **style)
    for axis, title in zip(axes, ("seconds", "peak memory, MiB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="positions N", title=title)
        axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
