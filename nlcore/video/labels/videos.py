"""The videos of an index, and the labels of a clip."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlcore.video.labels.numbered import Run, names_of
from nlcore.video.reading import Each, read_frames, read_images


@dataclass(frozen=True, slots=True)
class Video:
    """One video of an index: one line of its file.

    Attributes
    ----------
    path : str
        Of the file, or of the folder of images, relative to the index's root.
    frames : int
        Number of frames that decoding the whole video gave.
    fps : float
        Frames a second, as the file's header states.
    width, height : int
        In pixels, of frames as they are shown.
    size, modified : int
        Bytes of the file and its time of modification in ns since 1970. For images, the sum and
        the latest.
    labels : tuple of ints
        Of the whole video.
    intervals : tuple of (label, first, last), or None
        Labels of parts, each with its first and last frame. None if labels are those of the whole
        video.
    images : tuple
        Names of the images in the folder `path`, as `nlcore.video.labels.numbered` stores them.
        Empty for a video file.
    """

    path: str
    frames: int
    fps: float
    width: int
    height: int
    size: int
    modified: int
    labels: tuple[int, ...] = ()
    intervals: tuple[tuple[int, int, int], ...] | None = None
    images: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """A set of videos with labels.

    Attributes
    ----------
    format : str
        Name of the format of the list that the index was made from.
    names : tuple of str
        Name of each label.
    root : Path
        Folder that paths are relative to.
    videos : tuple of Video
        In the order of the list.
    """

    format: str
    names: tuple[str, ...]
    root: Path
    videos: tuple[Video, ...]

    def __len__(self) -> int:
        return len(self.videos)

    def read(
        self,
        number: int,
        indices: Sequence[int],
        threads: int = 1,
        each: Each | None = None,
        axis: int = 0,
    ) -> np.ndarray:
        """Frames of one video at given indices: (T, H, W, 3), uint8, RGB.

        See `nlcore.video.reading.read_frames` for `each`, `axis` and what is raised.
        """
        video = self.videos[number]
        if video.images:
            return read_images(files_of(self.root, video.path, video.images), indices, each, axis)
        return read_frames(self.root / video.path, indices, video.frames, threads, each, axis)


def renamed_labels(names: Sequence[str], others: Sequence[str]) -> list[int]:
    """The labels that have another name among `others`.

    Labels without names are called "0", "1" and so on. They differ from no others.

    Examples
    --------
    >>> renamed_labels(["left", "right"], ["right", "left"]), renamed_labels(["0", "1"], ["a", "b"])
    ([0, 1], [])
    """
    if any(all(name == str(n) for n, name in enumerate(given)) for given in (names, others)):
        return []
    both = enumerate(zip(names, others, strict=False))
    return [label for label, (one, other) in both if one != other]


def files_of(root: Path, path: str, images: Iterable[Run]) -> list[Path]:
    """The files of a video: its images, or itself."""
    return [root / path / name for name in names_of(images)] or [root / path]


def labels_of(video: Video, indices: Iterable[int] | None = None) -> tuple[int, ...]:
    """The union of the labels of frames, in ascending order.

    Without `indices`, the union over the whole video, as validation and testing on Charades use
    it. A video with labels of the whole has them at every frame.

    Raises
    ------
    ValueError
        An index is out of range, or there is none.

    Examples
    --------
    >>> video = Video("a.mp4", 100, 24.0, 64, 48, 9, 9, intervals=((92, 10, 20), (147, 15, 99)))
    >>> labels_of(video, range(0, 15)), labels_of(video, [0, 30]), labels_of(video)
    ((92,), (147,), (92, 147))
    """
    if indices is None:
        wanted = None
    else:
        wanted = sorted(set(indices))
        if not wanted or wanted[0] < 0 or wanted[-1] >= video.frames:
            raise ValueError(
                f"frames of {video.path} must be at least one, from 0 to {video.frames - 1}; "
                f"received {wanted}"
            )
    if video.intervals is None:
        return video.labels
    found = set()
    for label, first, last in video.intervals:
        at = 0 if wanted is None else bisect_left(wanted, first)
        if wanted is None or (at < len(wanted) and wanted[at] <= last):
            found.add(label)
    return tuple(sorted(found))
