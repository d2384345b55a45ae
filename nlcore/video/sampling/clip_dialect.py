"""A dialect: all that one source does between a video's frames and a network's input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from nlcore.video.draws import Draw
from nlcore.video.sampling.cropping import TestCrop, TrainingCrop, View
from nlcore.video.sampling.pixels import Values, view_pixels
from nlcore.video.sampling.scaling import Rounding, ShortSide
from nlcore.video.sampling.timing import Timing, Video


@dataclass(frozen=True)
class ClipDialect:
    """How one source samples clips and views. Every method is a pure function.

    Attributes
    ----------
    name : str
    source : str
        Where the rules were read.
    timing : Timing
        Which frames a clip has.
    short_side, rounding : callable
        To which size frames are resized.
    training_crop, three_crops, centre, whole : callable
        Which part of them is seen.
    values : Values
        How pixels become numbers, and whether before or after they are resized.
    input_side : bool
        Whether a training crop is resized once more, to the size that was asked for.
    missing : int
        By how many pixels a resized frame may be smaller than a crop of it.
    """

    name: str
    source: str
    timing: Timing
    short_side: ShortSide
    rounding: Rounding
    training_crop: TrainingCrop
    three_crops: TestCrop
    centre: Callable[[tuple[int, int], int], tuple[int, int]]
    whole: Callable[[tuple[int, int]], View]
    values: Values
    input_side: bool = False
    missing: int = 0

    def training_clip(
        self, count: int, fps: float | Fraction, frames: int, stride: int, draw: Draw
    ) -> np.ndarray:
        """The frames of a random clip of a video.

        Parameters
        ----------
        count : int
            Number of frames in the video.
        fps : float or Fraction
            Its frames per second. `slowfast` and `pytorchvideo` need it, the others do not.
        frames, stride : int
            Number of frames in the clip, and step between them.
        draw : Draw
            The choice is named "start".

        Returns
        -------
        (T,) int64
            Not always increasing: a short video is repeated, in some dialects frame by frame.

        Raises
        ------
        ValueError
            A number is below 1, or the clip shows no frame.
        """
        video = Video(count, fps, frames, stride)
        return self.timing.indices(video, self.timing.training_start(video, draw))

    def test_start(
        self, count: int, fps: float | Fraction, frames: int, stride: int, view: int, views: int
    ) -> float | Fraction:
        """Where clip `view` of `views` starts, in frames; the other parameters: `training_clip`."""
        if not 0 <= view < views:
            raise ValueError(f"view must be at least 0 and below {views}; received {view}")
        return self.timing.test_start(Video(count, fps, frames, stride), view, views)

    def test_clip(
        self, count: int, fps: float | Fraction, frames: int, stride: int, view: int, views: int
    ) -> np.ndarray:
        """The frames of clip `view` of `views`; the other parameters: `training_clip`.

        Returns
        -------
        (T,) int64
        """
        start = self.test_start(count, fps, frames, stride, view, views)
        return self.timing.indices(Video(count, fps, frames, stride), start)

    def training_view(
        self, height: int, width: int, jitter: tuple[int, int], crop: int, draw: Draw
    ) -> View:
        """A random view of frames of height x width pixels.

        Parameters
        ----------
        height, width : int
        jitter : tuple of two int
            Lowest and highest short side of the resized frames.
        crop : int
            Height and width of the network's input.
        draw : Draw
            The choices are named "jitter", "top", "left" and "flip"; of `mmaction2` "scale",
            "place" and "flip".

        Raises
        ------
        ValueError
            A number is below 1, the range is empty, or the crop is larger than the resized frames.
        """
        lowest, highest = jitter
        _check_sizes(height=height, width=width, crop=crop, jitter=lowest)
        if lowest > highest:
            raise ValueError(f"jitter must be lowest and highest; received {jitter}")
        size = self.rounding(height, width, self.short_side(lowest, highest, draw))
        top, left, tall, wide = self.training_crop(size, crop, draw)
        self._check_crop(size, tall)
        output = (crop, crop) if self.input_side else (tall, wide)
        return View(size, top, left, tall, wide, output, draw.flip("flip"))

    def test_view(
        self,
        height: int,
        width: int,
        short_side: int,
        crop: int | None = None,
        index: int = 0,
        crops: int = 1,
    ) -> View:
        """One of the views in testing. It is never flipped.

        Parameters
        ----------
        height, width, short_side : int
        crop : int or None
            Height and width of the network's input. None is the whole frame, for a network that is
            fully convolutional.
        index, crops : int
            Which of 1 crop (the centre) or 3 crops (along the longer side).

        Raises
        ------
        ValueError
            A number is out of range, or the crop is larger than the resized frames.
        """
        _check_sizes(height=height, width=width, short_side=short_side)
        if crops not in (1, 3) or not 0 <= index < crops:
            raise ValueError(
                f"crops must be 1 or 3, and index below it; received {crops} and {index}"
            )
        size = self.rounding(height, width, short_side)
        if crop is None:
            if crops != 1:
                raise ValueError(f"the whole frame is one view; received crops={crops}")
            return self.whole(size)
        _check_sizes(crop=crop)
        self._check_crop(size, crop)
        top, left = self.centre(size, crop) if crops == 1 else self.three_crops(size, crop, index)
        return View(size, top, left, crop, crop, (crop, crop))

    def pixels(self, frames: np.ndarray, view: View) -> np.ndarray:
        """The input of a network.

        Parameters
        ----------
        frames : (T, H, W, 3) uint8
            RGB.
        view : View
            Of frames of this height and width.

        Returns
        -------
        (3, T, h, w) float32
        """
        return view_pixels(self.values, frames, view)

    def _check_crop(self, size: tuple[int, int], crop: int) -> None:
        if crop > min(size) + self.missing:
            raise ValueError(
                f"the crop must have at most {min(size)} pixels, the shorter side of the resized "
                f"frames, {size}; received {crop}"
            )


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1; received {value!r}")
