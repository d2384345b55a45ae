"""Where a trained block looks in a film of "compare": the command that draws it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nlcore.video.labels import Index
from what_blocks_learn.configurations import BLOCK, CLIP, NETWORK
from what_blocks_learn.film_files import index_file
from what_blocks_learn.film_tasks import FRAMES, SECOND, SLOTS, TASKS
from what_blocks_learn.pictures_used import SIDE
from what_blocks_learn.trainings import Place, Training

#: The network, and the last of its blocks in res3, whose grid has CELLS x CELLS cells.
LOOKING, RESIDUAL, CELLS = "nl5", "res3.3", 5
#: Frames of one slot.
EACH = FRAMES // SLOTS
#: Sum over R, G and B by which a pixel of a digit differs from the background at least.
VISIBLE = 60


def attend_arguments(place: Place, index: Index, number: int, seed: int, output: Path) -> list[str]:
    """Arguments of `nlcore-video attend` for one film, from the middle of its second digit."""
    frames = index.read(number, range(FRAMES))
    slot = SECOND[len(SECOND) // 2]
    position = position_of(place_of_second(frames), slot)
    fields = {**NETWORK, "classes": len(TASKS["compare"].labels), "block": BLOCK}
    weights = place.weights(Training("compare", LOOKING, seed))
    options = {
        "--weights": weights,
        "--block": RESIDUAL,
        "--position": ",".join(map(str, position)),
        "--fields": json.dumps(fields),
        "--frames": CLIP,
        "--every": FRAMES // CLIP,
        "--short-side": SIDE,
        "--columns": CLIP // 2,
        "--output": output,
    }
    film = index.root / index.videos[number].path
    return [str(film), *(str(word) for pair in options.items() for word in pair)]


def place_of_second(frames: np.ndarray) -> tuple[int, int]:
    """The row and column in the middle of the second digit, in frames (T, H, W, 3)."""
    empty = frames[(SECOND.start - 1) * EACH].astype(int)
    changed = np.abs(frames[SECOND.start * EACH] - empty).sum(-1) > VISIBLE  # (H, W)
    rows, columns = np.nonzero(changed)
    return (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2


def position_of(place: tuple[int, int], slot: int) -> tuple[int, int, int]:
    """The position (T, H, W) in the block's grid."""
    row, column = (int(n) * CELLS // SIDE for n in place)
    return slot, row, column


def validation_file(place: Place) -> Path:
    """The index of the films that are looked at."""
    return index_file(place.films, TASKS["compare"], "validation")
