"""Which frames a clip has: the start of a clip, and the frames from there on.

A rule takes the video's number of frames `count` and frames per second `fps`, and a clip of
`frames` frames, every `stride`-th one. It was read in the source that the dialect names.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Protocol

import numpy as np

from nlcore.video.draws import Draw

#: Frames per second at which SlowFast and pytorchvideo count a clip's frames.
TARGET_FPS = 30


@dataclass(frozen=True)
class Video:
    """What the rules know of a video, and the clip that is wanted.

    Attributes
    ----------
    count : int
        Frames in the video.
    fps : float or Fraction
        Frames per second.
    frames, stride : int
        Frames in the clip, and step between them.
    """

    count: int
    fps: float | Fraction
    frames: int
    stride: int

    def __post_init__(self) -> None:
        for name in ("count", "frames", "stride"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1; received {value!r}")
            object.__setattr__(self, name, int(value))
        if not self.fps > 0:
            raise ValueError(f"fps must be above 0; received {self.fps!r}")

    @property
    def span(self) -> int:
        """Frames from the first of the clip to its last, both included."""
        return (self.frames - 1) * self.stride + 1


class Timing(Protocol):
    """The rules of one dialect: where a clip starts, and its frames."""

    def training_start(self, video: Video, draw: Draw) -> float | Fraction:
        """A random start, in frames."""

    def test_start(self, video: Video, view: int, views: int) -> float | Fraction:
        """The start of one of `views` clips, in frames."""

    def indices(self, video: Video, start: float | Fraction) -> np.ndarray:
        """The frames of a clip: (T,) int64."""


class Strided:
    """Every stride-th frame, whatever the fps. After the last frame comes the first.

    facebookresearch/video-nonlocal-net, customized_video_io.cc.
    """

    def training_start(self, video: Video, draw: Draw) -> int:
        return draw.integer("start", 0, max(video.count - video.frames * video.stride, 0))

    def test_start(self, video: Video, view: int, views: int) -> int:
        gap = np.float32(video.count) / np.float32(views)
        return int(gap * np.float32(view)) % video.count

    def indices(self, video: Video, start: float | Fraction) -> np.ndarray:
        return (int(start) + video.stride * np.arange(video.frames)) % video.count


class StridedToTheEnd(Strided):
    """As `Strided`, but the last clip in testing ends with the last frame.

    mmaction2, datasets/transforms/loading.py, SampleFrames without target_fps.
    """

    def test_start(self, video: Video, view: int, views: int) -> int:
        if video.frames == 1:  # its rule for 2-D networks
            gap = video.count / views
            return int(view * gap + gap / 2)
        last = max(video.count - video.span, 0)
        return last // 2 if views == 1 else round(view * (last / (views - 1)))


class Spread:
    """Frames evenly spread over the clip's time at 30 fps, cut to integers.

    SlowFast, datasets/decoder.py: get_start_end_idx, temporal_sampling.
    """

    def size(self, video: Video) -> float:
        """Frames of the video that a clip covers."""
        return max(1.0, video.stride * video.frames / TARGET_FPS * float(video.fps))

    def training_start(self, video: Video, draw: Draw) -> float:
        return max(video.count - self.size(video), 0) * draw.uniform("start")

    def test_start(self, video: Video, view: int, views: int) -> float:
        return max(video.count - self.size(video), 0) * view / views

    def indices(self, video: Video, start: float | Fraction) -> np.ndarray:
        end = float(start) + self.size(video) - 1
        times = linspace(float(start), end, video.frames)
        return np.clip(times, 0, np.float32(video.count - 1)).astype(np.int64)


class SpreadInSeconds:
    """Of the frames shown in the clip's seconds, evenly spread ones.

    pytorchvideo, data/clip_sampling.py, encoded_video_pyav.py; transforms/functional.py. Times are
    fractions, as there. Frame i is shown at i / fps seconds.

    Parameters
    ----------
    duration : Fraction or None
        Seconds of a clip. None is frames stride / 30, rounded to float64.
    """

    def __init__(self, duration: Fraction | None = None) -> None:
        self._duration = duration

    def duration(self, video: Video) -> Fraction:
        """Seconds of a clip."""
        if self._duration is not None:
            return self._duration
        return Fraction(video.frames * video.stride / TARGET_FPS)

    def _last(self, video: Video) -> Fraction:
        """The last start, in seconds."""
        return max(video.count / Fraction(video.fps) - self.duration(video), Fraction(0))

    def training_start(self, video: Video, draw: Draw) -> Fraction:
        start = Fraction(float(self._last(video)) * draw.uniform("start"))
        return start * Fraction(video.fps)

    def test_start(self, video: Video, view: int, views: int) -> Fraction:
        start = self._last(video) / max(views - 1, 1) * view
        return start * Fraction(video.fps)

    def indices(self, video: Video, start: float | Fraction) -> np.ndarray:
        first = ceil(start)
        end = Fraction(start) + self.duration(video) * Fraction(video.fps)
        shown = min(ceil(end), video.count) - first
        if shown < 1:
            raise ValueError(
                f"a clip must show a frame; received {float(self.duration(video)):.3g} s at "
                f"{float(video.fps):.3g} frames per second"
            )
        return first + linspace(0, shown - 1, video.frames).astype(np.int64)


class StridedAndClamped:
    """Every stride-th frame, whatever the fps. Frames outside of the video are its end frames.

    SlowFast, datasets/charades.py: get_seq_frames.
    """

    def training_start(self, video: Video, draw: Draw) -> int:
        last = video.count - video.span
        return draw.integer("start", min(last, 0), max(last, 0))

    def test_start(self, video: Video, view: int, views: int) -> int:
        return round(max(video.count - video.span, 0) / max(views - 1, 1) * view)

    def indices(self, video: Video, start: float | Fraction) -> np.ndarray:
        frames = int(start) + video.stride * np.arange(video.frames)
        return np.clip(frames, 0, video.count - 1)


def linspace(start: float, end: float, steps: int) -> np.ndarray:
    """`torch.linspace` in float32: from start to end, the second half counted back from the end.

    Product and sum are rounded once, as by PyTorch where the processor has fused multiply-adds.

    Returns
    -------
    (steps,) float32
    """
    first, last = np.float32(start), np.float32(end)
    step = (last - first) / np.float32(max(steps - 1, 1))
    k = np.arange(steps)
    up = np.float64(first) + np.float64(step) * k
    down = np.float64(last) - np.float64(step) * (steps - 1 - k)
    return np.where(k < max(steps // 2, 1), up, down).astype(np.float32)
