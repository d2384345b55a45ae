"""Clips from video files, in the form that the paper's networks take.

Reading needs PyAV, which is imported only when a file is read.
"""

from __future__ import annotations

from itertools import dropwhile, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: Mean and standard deviation of every channel, for pixel values from 0 to 255. They are those of
#: the authors' code.
MEAN, STD = 114.75, 57.375
#: Pixels of a frame per position of res5. H and W of a clip should be multiples of it.
STRIDE = 32


class Clip(NamedTuple):
    """Frames of a video and their times.

    Attributes
    ----------
    frames : (T, H, W, 3)
        uint8, RGB.
    times : tuple of T floats
        When each frame is shown, in seconds.
    """

    frames: np.ndarray
    times: tuple[float, ...]


def read_clip(
    video: Path | str,
    count: int = 32,
    every: int = 2,
    start: float = 0.0,
    short_side: int | None = 256,
) -> Clip:
    """Read a clip: `count` frames of a video file, every `every`-th frame from `start` on.

    Parameters
    ----------
    video : path
        Any file that FFmpeg can read. Frames are rotated as the file specifies.
    count, every : int
        Number of frames, and step between them. The default is the paper's clip: 32 frames from 64
        consecutive ones.
    start : float
        In seconds.
    short_side : int or None
        Frames are resized so that their shorter side has this many pixels. None keeps their size.

    Returns
    -------
    Clip

    Raises
    ------
    ValueError
        The file is not a video or has too few frames, or an argument is out of range.
    OSError
        The file does not exist.
    """
    for name, number in {"count": count, "every": every, "short_side": short_side}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1; received {number}")
    if start < 0:
        raise ValueError(f"start must be at least 0 seconds; received {start}")
    import av

    try:
        container = av.open(str(video))
    except av.error.InvalidDataError:
        raise ValueError(f"{video} must be a video; FFmpeg does not know its format") from None
    frames, times = [], []
    with container:
        if not container.streams.video:
            raise ValueError(f"{video} must be a video; received a file without a video stream")
        if start > 0:
            container.seek(int(start * av.time_base))  # to the last keyframe at or before start
        later = dropwhile(lambda frame: frame.time < start - 1e-6, container.decode(video=0))
        for frame in islice(later, 0, (count - 1) * every + 1, every):
            scale = 1.0 if short_side is None else short_side / min(frame.width, frame.height)
            width, height = round(scale * frame.width), round(scale * frame.height)
            picture = frame.reformat(width, height, "rgb24").to_ndarray()  # (H, W, 3)
            frames.append(np.rot90(picture, round(frame.rotation / 90)))
            times.append(frame.time)
    if len(frames) < count:
        raise ValueError(
            f"{video} must have {(count - 1) * every + 1} frames from {start} s on, to take "
            f"{count} of them; received enough for {len(frames)}"
        )
    return Clip(np.stack(frames), tuple(times))


def cropped(frames: np.ndarray, side: int | None = None) -> np.ndarray:
    """Crop frames (T, H, W, 3) to their centre, with at most `side` pixels along H and along W.

    The new H and W are the largest multiples of 32, so that every position of every layer covers
    whole pixels. Without `side`, the whole frame is used.

    Raises
    ------
    ValueError
        `side` is above H or W, or fewer than 32 pixels remain along H or W.
    """
    smaller = min(frames.shape[1:3])
    if side is not None and side > smaller:
        raise ValueError(
            f"the crop must have at most {smaller} pixels, the frames' smaller side; "
            f"received {side}"
        )
    height, width = (min(n, side or n) // STRIDE * STRIDE for n in frames.shape[1:3])
    if not height or not width:
        raise ValueError(
            f"frames must have at least {STRIDE} pixels per side after cropping; received "
            f"{frames.shape[1:3]}, cropped to {side}"
        )
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def normalized(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3), uint8 -> the input of a network: (x - MEAN) / STD, (1, 3, T, H, W)."""
    x = (frames.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)  # (T, H, W, 3)
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))[None]
