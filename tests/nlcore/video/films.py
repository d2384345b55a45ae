"""Test films: a camera that moves over a photograph, encoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="reading videos needs nlcore[video]")
data = pytest.importorskip("skimage.data", reason="its photographs are the test films")


@cache
def _photograph(name: str) -> np.ndarray:
    return np.ascontiguousarray(getattr(data, name)()[..., :3])


def pictures(
    count: int, height: int = 48, width: int = 64, photograph: str = "astronaut"
) -> np.ndarray:
    """Frames (T, H, W, 3), uint8: a window that moves by 3 rows and 4 columns a frame.

    `photograph` is the name of a photograph in RGB of scikit-image, such as "astronaut",
    "chelsea", "coffee" or "rocket". Every frame differs from every other one.
    """
    source = _photograph(photograph)
    rows = (3 * np.arange(count))[:, None] + np.arange(height)
    columns = (4 * np.arange(count))[:, None] + np.arange(width)
    rows, columns = rows % source.shape[0], columns % source.shape[1]
    return source[rows[:, :, None], columns[:, None, :]]


def write_film(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    rate: int | Fraction = 24,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    rotation: int | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode frames (H, W, 3), uint8, into a file and return its path.

    `times` are those of the frames, in units of 1 / `rate` seconds; the default is 0, 1, 2, ...
    `rotation`, in degrees, becomes the file's display matrix.
    """
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        pytest.skip(f"this FFmpeg cannot write {codec}")
    frames = list(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if rotation is not None:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this version of PyAV cannot write a rotation")
            stream.set_display_rotation(rotation)
        for time, picture in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = time, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_images(folder: Path, frames: Iterable[np.ndarray], names: str = "%06d.jpg") -> list[Path]:
    """Write each frame as a JPEG file into a new folder, numbered from 1, and return the paths."""
    folder.mkdir(parents=True)
    return [
        write_film(folder / (names % n), [frame], "mjpeg", 1, "yuvj420p")
        for n, frame in enumerate(frames, 1)
    ]
