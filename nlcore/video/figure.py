"""The paper's Figure 3: the largest weights of a position, as arrows over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

#: Sizes in inches: width of the figure, gap between frames, height of a line of the title, and
#: height of the colour bar with its labels.
WIDTH, GAP, TITLE, BAR = 12.0, 0.08, 0.25, 0.75


def draw_responses(
    frames: np.ndarray,
    sizes: Sequence[int],
    query: Sequence[int],
    weights: np.ndarray,
    positions: np.ndarray,
    *,
    window: Sequence[int] = (1, 1, 1),
    times: Sequence[float] | None = None,
    title: str = "",
    columns: int = 2,
) -> Figure:
    """Draw the frames of a clip with one marked position i and arrows to the positions j it sees.

    At the block, the clip is a grid of `sizes` positions. So each position (t, h, w) covers a cell
    of T / T' frames of H / H' by W / W' pixels. For each t, the frame in the middle of its cells is
    drawn. An arrow leads from the centre of i's cell to the centre of the cells from which j is
    pooled. Its colour and width show w_ij. The weight of i on itself is written below, not drawn.

    Parameters
    ----------
    frames : (T, H, W, 3)
        The clip: uint8, or floats from 0 to 1.
    sizes : (T', H', W')
        The positions of x at the block, at most (T, H, W).
    query : (t, h, w)
        The position i.
    weights, positions : (k,), (k, 3)
        The largest w_ij of one clip and their positions j: the results of
        `nlcore_torch.top_responses` or `nlcore_keras.top_responses` without the batch axis.
    window : three ints
        The pooling window of the block, ``spec.pool``.
    times : T floats, optional
        When each frame is shown, in seconds. It is written on the frame. By default, the number of
        the frame is written, unless there is only one.
    title : str
        Text above the frames.
    columns : int
        Number of frames per row.

    Returns
    -------
    matplotlib.figure.Figure
        The first Axes contains the frames and the arrows, in units of pixels of the clip.

    Raises
    ------
    ValueError
        The shapes are inconsistent, or the query is outside `sizes`.

    Notes
    -----
    Source: arXiv 1711.07971, Figure 3.
    """
    query, sizes, window = tuple(query), tuple(sizes), tuple(window)
    _check(frames, sizes, query, weights, positions, window, times)
    found: dict[tuple[int, ...], Any] = {
        tuple(place): float(w) for place, w in zip(positions.tolist(), weights, strict=True)
    }
    itself = tuple(q - q % w for q, w in zip(query, window, strict=True))  # start of i's window
    own = found.pop(itself, None)

    sheet = _Sheet(frames.shape[:3], sizes, min(columns, sizes[0]))
    lines = title.count("\n") + 1 if title else 0
    high = BAR + sheet.inches_high + TITLE * lines + GAP
    figure = Figure((WIDTH, high))
    left, across = GAP / WIDTH, 1 - 2 * GAP / WIDTH
    axes = figure.add_axes((left, BAR / high, across, sheet.inches_high / high))
    _show(axes, sheet, frames, times)

    ends = set(found.values()) or {1.0}
    ends = ends if len(ends) > 1 else ends | {0.0}  # one weight alone has no range
    norm = Normalize(min(ends), max(ends))
    colours = ScalarMappable(norm, "autumn")
    start = sheet.point(query, (1, 1, 1))
    for place, weight in reversed(found.items()):  # the largest is drawn last, on top
        line = 1 + float(norm(weight))
        _arrow(axes, start, sheet.point(place, window), colours.to_rgba(weight), line)
    _mark(axes, sheet, start)

    axes.set_title(title, fontsize=13)
    scale = figure.add_axes((0.3, (BAR - 0.2) / high, 0.4, 0.12 / high))
    bar = figure.colorbar(colours, cax=scale, orientation="horizontal")
    note = "" if own is None else f" (on itself {own:.3g}, not drawn)"
    bar.set_label(f"weight $w_{{ij}}$ = $f(x_i, x_j) / C(x)${note}", fontsize=12)
    return figure


@dataclass(frozen=True)
class _Sheet:
    """The layout of the frames in rows and columns, in pixels of the clip."""

    shape: tuple[int, ...]  # (T, H, W), the size of the clip
    sizes: tuple[int, ...]  # (T', H', W'), the number of cells along each axis
    columns: int

    @property
    def rows(self) -> int:
        return -(-self.sizes[0] // self.columns)

    @property
    def inch(self) -> float:
        """Pixels per inch."""
        return self.shape[2] * self.columns / (WIDTH - GAP * (self.columns + 1))

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of all frames with the gaps between them."""
        (x, y), (_, height, width) = self.corner(self.rows * self.columns - 1), self.shape
        return x + width, y + height

    @property
    def inches_high(self) -> float:
        return self.extent[1] / self.inch

    def corner(self, t: int) -> tuple[float, float]:
        """(x, y) of the upper left corner of the frame at t."""
        row, column = divmod(t, self.columns)
        gap = GAP * self.inch
        return column * (self.shape[2] + gap), row * (self.shape[1] + gap)

    def point(self, place: Sequence[int], window: Sequence[int]) -> tuple[float, float]:
        """(x, y) of the centre of a window of cells that begins at `place`."""
        t, down, right = cell_centre(place, window, self.sizes, self.shape)
        x, y = self.corner(t)
        return x + right, y + down


def _show(axes: Axes, sheet: _Sheet, frames: np.ndarray, times: Sequence[float] | None) -> None:
    """Draw the middle frame of each cell, with its time or number."""
    (count, height, width), cells = sheet.shape, sheet.sizes[0]
    for t in range(cells):
        number = (2 * t + 1) * count // (2 * cells)
        x, y = sheet.corner(t)
        axes.imshow(frames[number], extent=(x, x + width, y + height, y))
        if times is None and count == 1:
            continue
        axes.annotate(
            f"frame {number}" if times is None else f"t = {times[number]:.2f} s",
            (x, y),
            (6, -6),
            textcoords="offset points",
            va="top",
            color="white",
            fontsize=12,
            bbox={"boxstyle": "round, pad=0.2", "color": "black", "alpha": 0.6},
            zorder=6,
        )
    right, bottom = sheet.extent
    axes.set(xlim=(0, right), ylim=(bottom, 0), aspect="equal")
    axes.axis("off")


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: Any, line: float
) -> None:
    axes.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": "-|>, head_length=0.5, head_width=0.2",
            "connectionstyle": "arc3, rad=0.12",
            "color": colour,
            "linewidth": line,
            "shrinkA": 0,
            "shrinkB": 0,
            "path_effects": [withStroke(linewidth=line + 1.2, foreground="black")],
        },
    )


def _mark(axes: Axes, sheet: _Sheet, centre: tuple[float, float]) -> None:
    """Draw a rectangle around the cell of i, whose centre is given."""
    height, width = (n / m for n, m in zip(sheet.shape[1:], sheet.sizes[1:], strict=True))
    corner = centre[0] - width / 2, centre[1] - height / 2
    axes.add_patch(Rectangle(corner, width, height, fill=False, ec="cyan", lw=2, zorder=5))


def cell_centre(
    place: Sequence[int], window: Sequence[int], sizes: Sequence[int], shape: Sequence[int]
) -> tuple[int, float, float]:
    """(t, y, x) of the centre of a window of cells.

    Parameters
    ----------
    place, window : (t, h, w)
        The first cell of the window, and the number of cells along each axis.
    sizes : (T', H', W')
        Number of cells of the clip along each axis.
    shape : (T, H, W)
        Size of the clip.

    Returns
    -------
    t, y, x
        t is the index of the middle cell, or of the first of two middle cells. y and x are in
        pixels from the upper left corner of the frame.
    """
    t = place[0] + (window[0] - 1) // 2
    y, x = (
        (first + count / 2) * pixels / size
        for first, count, pixels, size in zip(
            place[1:], window[1:], shape[1:], sizes[1:], strict=True
        )
    )
    return t, y, x


def _check(
    frames: np.ndarray,
    sizes: tuple[int, ...],
    query: tuple[int, ...],
    weights: np.ndarray,
    positions: np.ndarray,
    window: tuple[int, ...],
    times: Sequence[float] | None,
) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(f"frames must have shape (T, H, W, 3); received shape {frames.shape}")
    shape = frames.shape[:3]
    if len(sizes) != 3 or not all(1 <= size <= n for size, n in zip(sizes, shape, strict=True)):
        raise ValueError(f"sizes must be three ints from 1 to {shape}; received {sizes}")
    if len(query) != 3 or not all(0 <= k < size for k, size in zip(query, sizes, strict=True)):
        raise ValueError(f"query must be an index into {sizes}; received {query}")
    if len(window) != 3:
        raise ValueError(f"window must have an entry for each of (T, H, W); received {window}")
    k = weights.shape[-1] if weights.ndim else 0
    if weights.shape != (k,) or positions.shape != (k, 3):
        raise ValueError(
            "weights and positions must have shapes (k,) and (k, 3); received shapes "
            f"{weights.shape} and {positions.shape}"
        )
    if times is not None and len(times) != shape[0]:
        raise ValueError(f"times must have one entry per frame, {shape[0]}; received {len(times)}")
