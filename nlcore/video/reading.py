"""Frames and clips from video files and folders of images.

Reading needs PyAV, which is imported only when a file is read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nlcore.video.decoding import (
    CannotSkip,
    Opened,
    after_keyframe,
    decoded,
    decoded_image,
    nothing_to_skip,
    opened,
    pixels,
    same_size,
)

if TYPE_CHECKING:
    import av

#: Mean and standard deviation of every channel, for pixel values from 0 to 255. They are those of
#: the authors' code.
MEAN, STD = 114.75, 57.375
#: Pixels of a frame per position of res5. H and W of a clip should be multiples of it.
STRIDE = 32
#: Names of files that are frames of a folder.
IMAGES = (".jpg", ".jpeg")


#: What is made of a frame's pixels (H, W, 3), uint8, as soon as it is decoded.
Each = Callable[[np.ndarray], np.ndarray]


def read_frames(
    path: Path | str,
    indices: Sequence[int],
    frames: int | None = None,
    threads: int = 1,
    each: Each | None = None,
    axis: int = 0,
) -> np.ndarray:
    """Read frames at given indices: frame k is the k-th one that decoding the whole video gives.

    Parameters
    ----------
    path : path
        Any video file that FFmpeg can read, or a folder of JPEG files, whose order is that of the
        numbers in their names.
    indices : sequence of T ints
        From 0 on, in any order. An index may occur more than once.
    frames : int or None
        Number of frames that decoding the whole video gives, as an index file stores it. With it,
        reading skips to the keyframe before the first index where that provably gives the same
        frames. Without it, the file is decoded from its start.
    threads : int
        Threads of the decoder.
    each : function, optional
        Of the pixels (H, W, 3) of a frame. The result has its results in the place of the pixels,
        so that no large frames are kept.
    axis : int
        The axis of the result along which the frames are.

    Returns
    -------
    (T, H, W, 3) array
        uint8, RGB, converted by FFmpeg. Frames of a video file are rotated as it specifies.

    Raises
    ------
    ValueError
        The file is not a video, is damaged before the last of the frames, or has too few frames.
    OSError
        The file does not exist or cannot be read.
    """
    path, wanted = Path(path), _checked_indices(indices, frames, path)
    if path.is_dir():
        images = images_of(path)
        if frames is not None and len(images) != frames:
            raise ValueError(f"{path} must have {frames} images; received {len(images)}")
        return read_images(images, wanted, each, axis)
    first, last = min(wanted), max(wanted)
    if frames is not None:
        with opened(path, threads) as video, suppress(CannotSkip):
            if nothing_to_skip(video, first):
                numbered = _from_start(video, last, frames)
            else:
                numbered = after_keyframe(video, first, last, frames)
            return _arranged(numbered, wanted, path, each, axis)
    with opened(path, threads) as video:
        return _arranged(_from_start(video, last, frames), wanted, path, each, axis)


def read_images(
    paths: Sequence[Path | str], indices: Sequence[int], each: Each | None = None, axis: int = 0
) -> np.ndarray:
    """Read the JPEG files at given indices of a list of paths: (T, H, W, 3), uint8, RGB.

    FFmpeg decodes them. A rotation in their EXIF data is ignored. For `each` and `axis`:
    `read_frames`.

    Raises
    ------
    ValueError
        A file is not a whole JPEG image, an index is out of range, or images differ in size.
    OSError
        A file does not exist or cannot be read.
    """
    wanted = _checked_indices(indices, len(paths), "a list of images")
    numbered = ((k, decoded_image(paths[k])) for k in dict.fromkeys(wanted))
    return _arranged(numbered, wanted, Path(paths[wanted[0]]).parent, each, axis, rotate=False)


def images_of(folder: Path) -> list[Path]:
    """The JPEG files of a folder in the order of the numbers in their names: 2 before 10."""

    def numbers(path: Path) -> list[tuple[int, str]]:
        return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", path.name)]

    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    return sorted(images, key=numbers)


def _checked_indices(
    indices: Sequence[int], frames: int | None, path: Path | str
) -> tuple[int, ...]:
    """The indices as ints, of which there is one and which are in range."""
    wanted = tuple(int(k) for k in indices)
    if not wanted:
        raise ValueError(f"indices of {path} must be at least one; received none")
    for k in wanted:
        if k < 0 or (frames is not None and k >= frames):
            last = "" if frames is None else f" to {frames - 1}"
            raise ValueError(f"indices of {path} must be from 0{last}; received {k}")
    return wanted


def _arranged(
    numbered: Iterable[tuple[int, av.VideoFrame]],
    wanted: Sequence[int],
    path: Path,
    each: Each | None,
    axis: int,
    rotate: bool = True,
) -> np.ndarray:
    """The wanted ones of frames with their numbers, in the order in which they are wanted."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(wanted):
        places[number].append(place)
    convert, array, size = pixels(path), np.empty(0, np.uint8), (0, 0)
    for number, frame in numbered:
        if number in places:
            picture = convert(frame, rotate=rotate)  # (H, W, 3)
            size = same_size(
                size if array.size else picture.shape[:2], picture.shape[:2], number, path
            )
            made = picture if each is None else each(picture)
            if not array.size:
                array = np.empty((*made.shape[:axis], len(wanted), *made.shape[axis:]), made.dtype)
            np.moveaxis(array, axis, 0)[places[number]] = made
    return array  # (T, H, W, 3), or as `each` and `axis` say


def _from_start(
    video: Opened, last: int, frames: int | None
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames 0 to `last` with their numbers."""
    number = -1
    for number, frame in enumerate(islice(decoded(video), last + 1)):
        yield number, frame
    if number < last:
        expected = f"at least {last + 1} frames" if frames is None else f"{frames} frames"
        raise ValueError(f"{video.path} must have {expected}; received {number + 1}")


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

    frames, times = [], []
    with opened(video) as source:
        if start > 0:  # to the last keyframe at or before start
            source.container.seek(int(start * av.time_base))
        convert = pixels(source.path)
        later = islice(decoded(source, start - 1e-6), 0, (count - 1) * every + 1, every)
        for frame in later:
            scale = 1.0 if short_side is None else short_side / min(frame.width, frame.height)
            width, height = round(scale * frame.width), round(scale * frame.height)
            frames.append(convert(frame, width, height))
            times.append(frame.time)
    if len(frames) < count:
        raise ValueError(
            f"{video} must have {(count - 1) * every + 1} frames from {start} s on, to take "
            f"{count} of them; received enough for {len(frames)}"
        )
    return Clip(np.stack(frames), tuple(times))


def cropped(frames: np.ndarray, side: int | None = None, stride: int = STRIDE) -> np.ndarray:
    """Crop frames (T, H, W, 3) to their centre, with at most `side` pixels along H and along W.

    The new H and W are the largest multiples of `stride`, so that every position of a layer with
    that stride covers whole pixels. Without `side`, the whole frame is used.

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
    height, width = (min(n, side or n) // stride * stride for n in frames.shape[1:3])
    if min(height, width) < STRIDE:
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
