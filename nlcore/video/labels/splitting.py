"""Dividing an index into videos to train with and videos to validate with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from nlcore.video.labels.videos import Index, labels_of


def divided(index: Index, fraction: float = 0.2, seed: int = 0) -> tuple[Index, Index]:
    """Divide an index by chance: the videos to train with, and those to validate with.

    Of each label, the given fraction goes to validation, rounded, but at least one video, and not
    the last one. A video with several labels counts for its first. The order of the index stays.

    Parameters
    ----------
    index : Index
    fraction : float
        Between 0 and 1.
    seed : int
        Of NumPy's generator.

    Raises
    ------
    ValueError
        The fraction is not between 0 and 1, or one of the two would have no video.

    Examples
    --------
    >>> from pathlib import Path
    >>> from nlcore.video.labels import Video
    >>> videos = tuple(Video(f"{n}.mp4", 9, 25.0, 64, 48, 1, 1, (n % 2,)) for n in range(10))
    >>> training, validation = divided(Index("files", ("a", "b"), Path(), videos))
    >>> len(training), [video.labels for video in validation.videos]
    (8, [(0,), (1,)])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1; received {fraction}")
    rng = np.random.default_rng(seed)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, video in enumerate(index.videos):
        groups[labels_of(video)[:1]].append(number)
    chosen: set[int] = set()
    for label in sorted(groups):
        own = groups[label]
        count = min(max(1, round(fraction * len(own))), len(own) - 1)
        chosen.update(rng.permutation(own)[:count].tolist())
    parts = [
        tuple(video for number, video in enumerate(index.videos) if (number in chosen) is validates)
        for validates in (False, True)
    ]
    if not all(parts):
        raise ValueError(
            "an index must have a label of two videos at least, to be divided; received "
            f"{len(index)} videos of {len(groups)} labels"
        )
    training, validation = (replace(index, videos=part) for part in parts)
    return training, validation
