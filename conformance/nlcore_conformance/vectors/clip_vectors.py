"""Vectors of draws, clips and views, as JSON, for other languages. docs/clips.md has the format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.video.draws import WORDS, Draw, element, element_in_epoch, framework_seed, order
from nlcore.video.sampling import CLIP_DIALECTS, ClipDialect, View

Entry = dict[str, Any]

#: (seed, iteration, slot) of the draws.
PLACES = ((0, 0, 0), (1, 0, 0), (1, 399999, 63), (20171107, 12, 5), (WORDS - 1,) * 3)
#: Lowest and highest integer of the draws.
RANGES = ((0, 236), (256, 320), (-43, 0), (7, 7), (0, WORDS // 2), (0, WORDS - 1))
NAMES = ("start", "jitter", "top", "left", "flip", "scale", "place", "dropout")

#: Frames in a video, frames per second as a fraction, and frames and stride of a clip.
COUNTS = (1, 20, 63, 64, 65, 150, 300, 301)
RATES = ((24, 1), (30000, 1001), (30, 1), (60, 1))
CLIPS = ((32, 2), (8, 8))
VIEWS = 10

#: Height and width of frames.
SIZES = ((240, 320), (320, 240), (242, 320), (256, 340), (67, 116), (97, 97), (300, 455))
LARGE_SIZES = ((360, 480), (720, 1280), (1080, 1920), (1920, 1080))
SHORT_SIDES = (67, 128, 256, 313, 320)


def files() -> dict[str, list[Entry]]:
    """The entries of each file, by its name."""
    return {
        "words.json": list(_words()),
        "draws.json": list(_draws()),
        "orders.json": list(_orders()),
        "clips.json": [e for dialect in CLIP_DIALECTS.values() for e in _clips(dialect)],
        "sizes.json": [e for dialect in CLIP_DIALECTS.values() for e in _sizes(dialect)],
        "views.json": [e for dialect in CLIP_DIALECTS.values() for e in _views(dialect)],
        "pixels.json": [
            {"frames": _frames().tolist()},
            *(e for dialect in CLIP_DIALECTS.values() for e in _pixels(dialect)),
        ],
    }


def export(folder: Path) -> list[Path]:
    """Write the files: a JSON list each, one entry a line. Two exports are equal byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, entries in files().items():
        lines = (json.dumps(entry, separators=(",", ":"), allow_nan=False) for entry in entries)
        paths.append(folder / name)
        paths[-1].write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return paths


def _place(seed: int, iteration: int, slot: int) -> Entry:
    """A place, as text: JSON's readers may not hold integers above 2^53."""
    return {"seed": str(seed), "iteration": str(iteration), "slot": str(slot)}


def _words() -> Iterable[Entry]:
    for place, name in product(PLACES, NAMES):
        words = [f"{word:016x}" for word in islice(Draw(*place).words(name), 6)]
        yield {**_place(*place), "name": name, "words": words}


def _draws() -> Iterable[Entry]:
    for place, name in product(PLACES, NAMES):
        draw = Draw(*place)
        integers = [
            {"low": str(low), "high": str(high), "value": str(draw.integer(name, low, high))}
            for low, high in RANGES
        ]
        yield {
            **_place(*place),
            "name": name,
            "uniform": draw.uniform(name),
            "flip": draw.flip(name),
            "integers": integers,
        }


def _orders() -> Iterable[Entry]:
    for seed, count, batch in ((0, 1, 1), (1, 7, 4), (20171107, 50, 64), (WORDS - 1, 100, 8)):
        yield {
            "seed": str(seed),
            "count": count,
            "orders": [order(seed, epoch, count).tolist() for epoch in range(3)],
            "batch": batch,
            "elements": [
                [element(seed, n, slot, batch, count) for slot in range(batch)] for n in range(4)
            ],
            "dropped": _epochs(seed, batch, count, False) if count >= batch else [],
            "kept": _epochs(seed, batch, count, True),
            "framework_seeds": [framework_seed(seed, n) for n in range(4)],
        }


def _epochs(seed: int, batch: int, count: int, kept: bool) -> list[list[int]]:
    """The elements of iterations 0 to 3 where every epoch begins with a new batch."""
    iterations = -(-count // batch) if kept else count // batch
    return [
        [
            element_in_epoch(seed, n, slot, batch, count, kept)
            for slot in range(min(batch, count - n % iterations * batch))
        ]
        for n in range(4)
    ]


def _clips(dialect: ClipDialect) -> Iterable[Entry]:
    for count, rate, (frames, stride) in product(COUNTS, RATES, CLIPS):
        if rate != (30, 1) and dialect.name in ("paper", "caffe2", "mmaction2"):
            continue  # they do not use it
        fps = Fraction(*rate)
        draw = Draw(20171107, count, frames)
        training = dialect.training_clip(count, fps, frames, stride, draw)
        views = (0, 1, 4, 9)
        yield {
            "dialect": dialect.name,
            "count": count,
            "fps": rate,
            "frames": frames,
            "stride": stride,
            "draw": _place(draw.seed, draw.iteration, draw.slot),
            "training": training.tolist(),
            "views": VIEWS,
            "test": {
                str(view): dialect.test_clip(count, fps, frames, stride, view, VIEWS).tolist()
                for view in views
            },
        }


def _sizes(dialect: ClipDialect) -> Iterable[Entry]:
    for size in (*SIZES, *LARGE_SIZES):
        sizes = {str(short): dialect.test_view(*size, short).size for short in SHORT_SIDES}
        yield {"dialect": dialect.name, "size": size, "resized": sizes}


def _views(dialect: ClipDialect) -> Iterable[Entry]:
    jitter = (256, 256) if dialect.name == "mmaction2" else (256, 320)
    for number, size in enumerate(SIZES):
        training = []
        for slot in range(4):
            draw = Draw(20171107, number, slot)
            view = dialect.training_view(*size, jitter, 224, draw)
            training.append({"draw": _place(draw.seed, number, slot), "view": asdict(view)})
        test = [asdict(dialect.test_view(*size, 256, 256, k, 3)) for k in range(3)]
        yield {
            "dialect": dialect.name,
            "size": size,
            "jitter": jitter,
            "crop": 224,
            "training": training,
            "short_side": 256,
            "test_crop": 256,
            "three_crops": test,
            "centre": asdict(dialect.test_view(*size, 256, 256)),
            "whole": asdict(dialect.test_view(*size, 256)),
        }


def _frames() -> np.ndarray:
    """Frames (2, 9, 12, 3) whose bytes are the upper ones of words."""
    words = islice(Draw(20171107, 0, 0).words("pixels"), 2 * 9 * 12 * 3)
    return np.array([word >> 56 for word in words], np.uint8).reshape(2, 9, 12, 3)


def _pixels(dialect: ClipDialect) -> Iterable[Entry]:
    views = {
        "whole": View((7, 10), 0, 0, 7, 10, (7, 10)),
        "enlarged": View((13, 17), 2, 3, 6, 7, (6, 7), flip=True),
        "half": View((4, 6), 0, 0, 4, 6, (4, 6)),
        "past the end": View((7, 10), 0, 0, 8, 10, (8, 10)),
    }
    if dialect.input_side:
        views["resized twice"] = View((8, 11), 1, 2, 6, 6, (5, 5), flip=True)
    for name, view in views.items():
        pixels = dialect.pixels(_frames(), view)
        yield {
            "dialect": dialect.name,
            "about": name,
            "view": asdict(view),
            "shape": pixels.shape,
            # the shortest decimal that float32 reads as the same number
            "pixels": [float(str(value)) for value in pixels.ravel()],
        }
