"""Test views: which are computed by which process, and how their scores are merged.

A video has clips x crops views. View v is clip v // crops and crop v % crops. Every view is
computed once, without padding. A missing or doubled view is an error.

SlowFast's multi-label meter adds scores to an array that starts at -1e10 in float32. The spacing of
float32 there is 1024, so with its option "sum" every score is lost and all videos are tied.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nlcore.spec import positive_int

SPLITS = ("contiguous", "strided")
MERGES = ("mean", "max", "sum")
#: Number of views that an error names.
NAMED = 3


def clip_and_crop(view: int, crops: int) -> tuple[int, int]:
    """The clip and the crop of a view.

    Examples
    --------
    >>> clip_and_crop(7, crops=3)
    (2, 1)
    """
    return divmod(view, crops)


def assigned(
    videos: int, views: int, process: int = 0, processes: int = 1, split: str = "contiguous"
) -> np.ndarray:
    """The views that a process computes, in order: rows (video, view).

    Parameters
    ----------
    videos, views : int
        Number of videos, and number of views per video.
    process, processes : int
        Number of the process from 0, and number of processes.
    split : {"contiguous", "strided"}
        "contiguous": a process has neighbours in the order of all views, so it decodes few videos.
        "strided": every `processes`-th view, so that long videos are spread.

    Returns
    -------
    (n, 2) int64
        n differs by at most 1 between processes. Together they have every view once.

    Raises
    ------
    TypeError, ValueError
        A number is out of range, or the split is unknown.

    Examples
    --------
    >>> assigned(2, 3, process=1, processes=2).tolist()
    [[1, 0], [1, 1], [1, 2]]
    """
    total = positive_int("videos", videos) * positive_int("views", views)
    positive_int("processes", processes)
    if process not in range(processes):
        raise ValueError(f"process must be from 0 to {processes - 1}; received {process}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}; received {split!r}")
    if split == "contiguous":
        first, end = (total * k // processes for k in (process, process + 1))
        order = np.arange(first, end)
    else:
        order = np.arange(process, total, processes)
    return np.stack(np.divmod(order, views), axis=1)  # (n, 2)


class ViewScores:
    """The scores of views, collected one by one: softmax or sigmoid of the logits.

    Parameters
    ----------
    videos : sequence of str
        Names of the videos, each once.
    clips, crops : int
        Clips per video, and crops per clip.
    classes : int

    Attributes
    ----------
    scores : (videos, views, classes) float32
    computed : (videos, views) bool
        Which scores were added. The others are 0.

    Raises
    ------
    ValueError
        A name is doubled, or a number is not positive.
    """

    def __init__(self, videos: Sequence[str], clips: int, crops: int, classes: int) -> None:
        self.videos = tuple(videos)
        self._index = {name: k for k, name in enumerate(self.videos)}
        if len(self._index) < len(self.videos):
            twice = next(name for k, name in enumerate(self.videos) if self._index[name] != k)
            raise ValueError(f"videos must have different names; received {twice!r} twice")
        self.clips, self.crops = positive_int("clips", clips), positive_int("crops", crops)
        shape = (len(self.videos), self.clips * self.crops)
        self.scores = np.zeros((*shape, positive_int("classes", classes)), np.float32)
        self.computed = np.zeros(shape, bool)

    def add(self, video: str, view: int, scores: Any) -> None:
        """Store the scores of a view, shape (classes,).

        Raises
        ------
        ValueError
            The video or the view is unknown, the view was added before, or the scores have another
            shape or are not finite. The message names the video and the view.
        """
        if video not in self._index:
            raise ValueError(f"video must be one of the {len(self.videos)}; received {video!r}")
        place = (self._index[video], view)
        if view not in range(self.computed.shape[1]):
            raise ValueError(
                f"view of {video!r} must be from 0 to {self.computed.shape[1] - 1}; received {view}"
            )
        values = np.asarray(scores, np.float32)
        if values.shape != self.scores.shape[2:]:
            raise ValueError(
                f"scores of {self._named(*place)} must have shape {self.scores.shape[2:]}; "
                f"received shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"scores of {self._named(*place)} must be finite; received {values}")
        if self.computed[place]:
            raise ValueError(f"each view must be added once; received {self._named(*place)} again")
        self.scores[place] = values
        self.computed[place] = True

    def merged(self, merge: str = "mean") -> np.ndarray:
        """The scores of the videos, (videos, classes) float64.

        Parameters
        ----------
        merge : {"mean", "max", "sum"}
            Over the views, in their order, so the result does not depend on the processes.

        Raises
        ------
        ValueError
            A view is missing, or the way to merge is unknown.
        """
        missing = np.argwhere(~self.computed)
        if len(missing):
            named = ", ".join(self._named(*place) for place in missing[:NAMED])
            raise ValueError(
                f"all {self.computed.size} views must be added before they are merged; missing: "
                f"{len(missing)}, {named}{', ...' if len(missing) > NAMED else ''}"
            )
        return merge_views(self.scores, merge)

    def _named(self, video: int, view: int) -> str:
        clip, crop = clip_and_crop(int(view), self.crops)
        return f"{self.videos[video]!r} view {view} (clip {clip}, crop {crop})"

    def save(self, file: Path | str, facts: Mapping[str, Any] | None = None) -> None:
        """Write the scores into a .npz file, from which they can be merged again.

        `facts` is what else the file stores, as JSON: the recipe, the weights, the process. The
        file is written aside and renamed, so it is never half a file.
        """
        file = Path(file)
        aside = file.with_name(f"{file.name}.writing")
        about = {"clips": self.clips, "crops": self.crops, "facts": dict(facts or {})}
        with aside.open("wb") as out:
            np.savez(
                out,
                videos=np.array(self.videos, dtype=np.str_),
                scores=self.scores,
                computed=self.computed,
                about=np.array(json.dumps(about)),
            )
        os.replace(aside, file)


def merge_views(scores: np.ndarray, merge: str = "mean") -> np.ndarray:
    """Merge scores (..., views, classes) over the views, in float64: (..., classes).

    Raises
    ------
    ValueError
        The way to merge is unknown.

    Examples
    --------
    >>> merge_views(np.array([[0.25, 0.75], [0.5, 0.5]]), "max").tolist()
    [0.5, 0.75]
    """
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {MERGES}; received {merge!r}")
    if merge == "max":
        return np.asarray(scores, np.float64).max(axis=-2)
    views = np.moveaxis(np.asarray(scores, np.float64), -2, 0)  # (views, ..., classes)
    total = np.zeros(views.shape[1:])
    for view in views:  # NumPy's own order of a sum depends on the shape
        total += view
    return total / len(views) if merge == "mean" else total


def read_scores(files: Iterable[Path | str]) -> tuple[ViewScores, list[dict[str, Any]]]:
    """The scores of one or more files of `ViewScores.save`, together, and the facts of each file.

    Raises
    ------
    ValueError
        There is no file, a file is not one of scores, the files are not of the same videos, views
        and classes, or a view is in two of them.
    OSError
        A file cannot be read.
    """
    together: ViewScores | None = None
    facts = []
    for file in files:
        part, about = _read(Path(file))
        facts.append(about)
        if together is None:
            together = part
            continue
        one, other = ((s.videos, s.clips, s.crops, s.scores.shape[2]) for s in (together, part))
        if one != other:
            raise ValueError(
                f"{file} must have the videos, clips, crops and classes of the files before it; "
                f"received {len(other[0])} videos and {other[1:]}, expected {len(one[0])} and "
                f"{one[1:]}"
            )
        doubled = np.argwhere(together.computed & part.computed)
        if len(doubled):
            raise ValueError(
                f"each view must be in one file; received {together._named(*doubled[0])} again in "
                f"{file}"
            )
        together.scores += part.scores
        together.computed |= part.computed
    if together is None:
        raise ValueError("files must be at least one file of scores; received none")
    return together, facts


def _read(file: Path) -> tuple[ViewScores, dict[str, Any]]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            classes = arrays["scores"].shape[-1]
            part = ViewScores(arrays["videos"].tolist(), about["clips"], about["crops"], classes)
            part.scores[:], part.computed[:] = arrays["scores"], arrays["computed"]
    except (ValueError, KeyError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise ValueError(f"{file} must be a file of scores; {error}") from None
    return part, about["facts"]
