"""Clips from video files, as the paper's networks take them.

Reading needs PyAV, which is imported when a file is read.
"""

from __future__ import annotations

from itertools import dropwhile, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: Of every channel, where black is 0 and white 255 (C2).
MEAN, STD = 114.75, 57.375
#: Pixels of a frame for one position of res5: what the networks' sizes should be multiples of.
STRIDE = 32


class Clip(NamedTuple):
    """Frames of a video, and when each is shown."""

    frames: np.ndarray  # (T, H, W, 3), uint8, RGB
    times: tuple[float, ...]  # T, in seconds


def read_clip(
    video: Path | str,
    count: int = 32,
    every: int = 2,
    start: float = 0.0,
    short_side: int | None = 256,
) -> Clip:
    """`count` frames of a video file, every `every`-th of those from `start` on.

    Parameters
    ----------
    video
        Any file that FFmpeg reads. Frames are turned as the file says they are to be shown.
    count, every
        By default the paper's clip: 32 of 64 consecutive frames.
    start
        In seconds.
    short_side
        Pixels of the shorter side that frames are resized to; None leaves them as they are.

    Raises
    ------
    ValueError
        The file holds no video or not as many frames, or a number is out of its range.
    OSError
        There is no such file.
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
        raise ValueError(f"{video} must be a video; FFmpeg knows no such format") from None
    frames, times = [], []
    with container:
        if not container.streams.video:
            raise ValueError(f"{video} must be a video; received a file without pictures")
        if start > 0:
            container.seek(int(start * av.time_base))  # to the last keyframe that is not later
        later = dropwhile(lambda frame: frame.time < start - 1e-6, container.decode(video=0))
        for frame in islice(later, 0, (count - 1) * every + 1, every):
            scale = 1.0 if short_side is None else short_side / min(frame.width, frame.height)
            width, height = round(scale * frame.width), round(scale * frame.height)
            picture = frame.reformat(width, height, "rgb24").to_ndarray()  # (H, W, 3)
            frames.append(np.rot90(picture, round(frame.rotation / 90)))
            times.append(frame.time)
    if len(frames) < count:
        raise ValueError(
            f"{video} must have {(count - 1) * every + 1} frames from {start} s on, of which "
            f"{count} are taken; received {len(frames)} of them"
        )
    return Clip(np.stack(frames), tuple(times))


def cropped(frames: np.ndarray, side: int | None = None) -> np.ndarray:
    """The middle of frames (T, H, W, 3), of at most `side` pixels along H and along W.

    Both come out as multiples of 32, so that a position of any layer is of whole pixels.

    Raises
    ------
    ValueError
        Less than 32 pixels are left.
    """
    height, width = (min(n, side or n) // STRIDE * STRIDE for n in frames.shape[1:3])
    if not height or not width:
        raise ValueError(
            f"frames must have {STRIDE} pixels a side at least; received {frames.shape[1:3]}, "
            f"cropped to {side}"
        )
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def normalized(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3), uint8 -> what the networks take, (1, 3, T, H, W), float32."""
    x = (frames.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)  # (T, H, W, 3)
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))[None]
