"""The frames and the crops that each dialect tests a video of 300 frames with."""

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from nlcore.video.sampling import CLIP_DIALECTS

COUNT, FPS, FRAMES, STRIDE, VIEWS = 300, 30, 32, 2, 10
HEIGHT, WIDTH, SHORT = 240, 320, 256

figure = plt.figure(figsize=(9, 8), layout="constrained")
times, crops = figure.subfigures(2, 1, height_ratios=(5, 3))

axis = times.subplots()
for row, dialect in enumerate(CLIP_DIALECTS.values()):
    for view in range(VIEWS):
        clip = dialect.test_clip(COUNT, FPS, FRAMES, STRIDE, view, VIEWS)
        lane = [row + 0.08 * view] * FRAMES
        axis.scatter(clip, lane, s=4, marker="s", linewidths=0, color=f"C{view % 2}")
axis.set(
    yticks=[row + 0.36 for row in range(len(CLIP_DIALECTS))],
    yticklabels=CLIP_DIALECTS,
    xlim=(-4, COUNT + 3),
    xticks=range(0, COUNT + 1, 30),
    xlabel="frame",
    title=f"{VIEWS} clips of {FRAMES} x {STRIDE} frames in testing",
)
axis.invert_yaxis()
axis.grid(axis="x", alpha=0.3)
axis.tick_params(axis="y", length=0)

crops.suptitle(
    f"{HEIGHT} x {WIDTH} pixels resized to {SHORT}, and three crops, by their left edges"
)
axes = crops.subplots(2, 3).ravel()
for axis, (name, dialect) in zip(axes, CLIP_DIALECTS.items(), strict=True):
    if name == "paper":
        views = [dialect.test_view(HEIGHT, WIDTH, SHORT)]
        label = "the whole frame"
    else:
        views = [dialect.test_view(HEIGHT, WIDTH, SHORT, SHORT, k, 3) for k in range(3)]
        label = ", ".join(str(view.left) for view in views)
    height, width = views[0].size
    axis.add_patch(Rectangle((0, 0), width, height, facecolor="0.92", edgecolor="0.6"))
    for k, view in enumerate(views):
        inset = 10 * (k + 1)  # so that no line hides another
        box = (view.left, inset), view.width, view.height - 2 * inset
        axis.add_patch(Rectangle(*box, fill=False, edgecolor=f"C{k}", linewidth=2))
        axis.text(view.left + 5, height / 2 + 50 * (k - 1), str(k), color=f"C{k}", va="center")
    axis.set(xlim=(-5, width + 5), ylim=(height + 5, -5), aspect="equal")
    axis.set_title(f"{name}: {label}", fontsize="medium")
    axis.axis("off")
