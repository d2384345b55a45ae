"""Frames of one file, decoded by PyAV, which is imported when a file is opened."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import av


#: Seconds that the last packet of a file lasts at most. Packets often do not state it.
LAST_PACKET = 1.0


class Opened(NamedTuple):
    """An open file: its path, PyAV's container and the video stream that is read."""

    path: Path
    container: av.container.InputContainer
    stream: av.VideoStream


class Measured(NamedTuple):
    """What decoding a whole video finds.

    Attributes
    ----------
    frames : int
        Number of frames that a decoder gives, whatever the file's header states.
    fps : float
        Average frames per second, from the file's header.
    width, height : int
        In pixels, of frames as they are shown.
    """

    frames: int
    fps: float
    width: int
    height: int


@contextmanager
def opened(path: Path | str, threads: int = 1, jpeg: bool = False) -> Iterator[Opened]:
    """Open a video, or a JPEG file, and close it at the end of the block.

    Raises
    ------
    ValueError
        The file is not a video.
    OSError
        The file does not exist or cannot be read.
    """
    path = Path(path)
    with path.open("rb"):  # raises Python's own errors
        pass
    import av

    try:
        # The prefix keeps FFmpeg from taking a name such as "a:b.mp4" for an address.
        container = av.open(f"file:{path}", format="jpeg_pipe" if jpeg else None)
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path} must be a video; FFmpeg does not know its format, or it is cut off: "
            f"{error.strerror}"
        ) from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{path} must be a video; received a file without a video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        if jpeg:  # its decoder fills what is missing with grey unless an error stops it
            stream.codec_context.options = {"err_detect": "explode"}
        yield Opened(path, container, stream)


def decoded(video: Opened, start: float | None = None) -> Iterator[av.VideoFrame]:
    """Frames of an open video from `start` seconds on, in the order in which they are shown.

    Raises
    ------
    ValueError
        The file is damaged: a frame cannot be decoded, or the decoder marks it as wrong.
    """
    import av

    number = 0
    try:
        for packet in video.container.demux(video.stream):
            for frame in packet.decode():
                if start is not None and frame.time < start:
                    continue
                if frame.is_corrupt or packet.is_corrupt:
                    raise ValueError(
                        f"{video.path} is damaged: decoding frame {number} reports an error"
                    )
                yield frame
                number += 1
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{video.path} is damaged or cut off after {number} decoded frames: {error.strerror}"
        ) from None


def nothing_to_skip(video: Opened, first: int) -> bool:
    """Whether the container lists its frames, and no keyframe after the first one up to `first`.

    Then decoding from the start is as fast as any way. MP4 and AVI have such a list.
    """
    listed = video.stream.index_entries
    return len(listed) > first and not any(entry.is_keyframe for entry in listed[1 : first + 1])


class CannotSkip(Exception):
    """Frames before the first wanted one must be decoded to know which is which."""


def after_keyframe(
    video: Opened, first: int, last: int, frames: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames up to `last` with their numbers, from a keyframe before `first`.

    A frame's number is the place of its time among the times of all packets. That is exact if
    there are as many packets as frames, and if the decoder gives each frame at its time.
    """
    import av

    times, keys = _times(video)
    if len(times) != frames:
        raise CannotSkip
    before = bisect_right(keys, times[first])
    if before < 2:  # nothing is before the only keyframe
        raise CannotSkip
    key = keys[before - 1]
    number = bisect_left(times, key)
    try:
        video.container.seek(key, stream=video.stream)
        for frame in video.container.decode(video.stream):
            if frame.pts is not None and frame.pts < key:
                continue  # it may need frames before the keyframe
            if frame.pts != times[number] or frame.is_corrupt:
                raise CannotSkip
            yield number, frame
            if number == last:
                return
            number += 1
    except av.error.FFmpegError:
        pass
    raise CannotSkip


def _times(video: Opened) -> tuple[list[int], list[int]]:
    """Times of all frames, and of the keyframes, from packets: sorted, without decoding.

    Raises CannotSkip where time goes back: frames are then not shown in the order of their times.
    """
    import av

    times: list[int] = []
    keys: list[int] = []
    latest = -(2**63)
    try:
        for packet in video.container.demux(video.stream):
            if not packet.size or packet.is_discard:
                continue  # the end of the file, or hidden by an edit list
            if packet.pts is None or (packet.dts is not None and packet.dts <= latest):
                raise CannotSkip
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
            latest = latest if packet.dts is None else packet.dts
    except av.error.FFmpegError:
        raise CannotSkip from None
    return sorted(times), keys


def decoded_image(path: Path | str) -> av.VideoFrame:
    """The picture of a JPEG file.

    Raises
    ------
    ValueError
        The file is not a whole JPEG image.
    OSError
        The file does not exist or cannot be read.
    """
    with opened(path, jpeg=True) as image:
        frames = list(decoded(image))
    if frames:
        return frames[0]
    raise ValueError(f"{path} must be a JPEG image; received none")


def pixels(path: Path) -> Callable[..., np.ndarray]:
    """A function of (frame, width, height): the frame's pixels (H, W, 3), uint8, RGB.

    Frames are rotated as the file specifies unless `rotate=False`. Width and height are those
    before the rotation, and the default keeps the frame's.
    """
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()  # one for all frames, as preparing it takes time

    def convert(
        frame: av.VideoFrame,
        width: int | None = None,
        height: int | None = None,
        rotate: bool = True,
    ) -> np.ndarray:
        picture = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        return np.rot90(picture, quarter_turns(frame, path)) if rotate else picture

    return convert


def quarter_turns(frame: av.VideoFrame, path: Path) -> int:
    """Counterclockwise rotations by 90 degrees with which a frame is shown."""
    if frame.rotation % 90:
        raise ValueError(
            f"{path} must be rotated by a multiple of 90 degrees; received {frame.rotation}"
        )
    return frame.rotation // 90


def measured(path: Path | str) -> Measured:
    """Decode all frames of a video once and measure it.

    Raises
    ------
    ValueError
        The file is not a video, is damaged or cut off, has no frame, states no frame rate, or its
        frames differ in size.
    OSError
        The file does not exist or cannot be read.
    """
    with opened(path) as video:
        _check_duration(video)
    with opened(path) as video:
        number, size = 0, (0, 0)
        for frame in decoded(video):
            turned = quarter_turns(frame, video.path) % 2
            shown = (frame.height, frame.width) if turned else (frame.width, frame.height)
            size = same_size(size if number else shown, shown, number, video.path)
            number += 1
        if not number:
            raise ValueError(f"{path} must have frames; received a video without any")
        fps = video.stream.average_rate or video.stream.guessed_rate
        if not fps:
            raise ValueError(f"{path} must state its frames a second; received none")
        return Measured(number, float(fps), *size)


def _check_duration(video: Opened) -> None:
    """Raise a ValueError if the file ends long before the time that it states.

    Only Matroska (.mkv, .webm) needs this. FFmpeg itself reports an MP4 file that is cut off.
    """
    import av

    stated = video.container.duration
    if "matroska" not in video.container.format.name or not stated:
        return
    seconds = stated / av.time_base
    packets = video.container.demux()
    times = (float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)
    end = max(times, default=0.0)
    if end < seconds - LAST_PACKET:
        raise ValueError(
            f"{video.path} is cut off: it must last {seconds:.1f} s, and its last packet is at "
            f"{end:.1f} s"
        )


def same_size(first: tuple, size: tuple, number: int, path: Path) -> tuple:
    """Return `size` if it is that of the first frame."""
    if size != first:
        raise ValueError(
            f"{path} must have frames of one size; received {first} and, at frame {number}, {size}"
        )
    return size
