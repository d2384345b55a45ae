"""The objects in all images of a set, found by one or more processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.coco.images.annotations import CocoSet
from nlcore.coco.results.detections import RESULT_KINDS, result_entries
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.running.learner import Learner

#: Kind of results -> the entries of the result file.
Results = dict[str, list[dict[str, Any]]]


def find_objects(
    images: CocoSet,
    workers: Workers,
    source: str,
    learner: Learner,
    folder: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Results | None:
    """The results of each kind in all images, ordered by image. Every process calls it.

    Parameters
    ----------
    images : CocoSet
    workers : Workers
        With `EvaluationImages` as a source.
    source : str
        Its name.
    learner : Learner
        Its `scores` returns the `Detections` in pixels (H, W, 3).
    folder : Path
        Several processes exchange files in it.
    tell : function
        Called with how many images of this process are done, of how many.

    Returns
    -------
    dict or None
        None in all processes but the first.

    Raises
    ------
    ArithmeticError
        A detection is not finite.
    LoadingError
        An image cannot be read.
    """
    own = range(learner.process, len(images), learner.processes)
    found: Results = {kind: [] for kind in RESULT_KINDS[images.task]}
    for done, image in enumerate(workers.clips(source, ((number,) for number in own)), 1):
        detections = learner.scores(image.pixels)
        for kind, entries in found.items():
            entries += result_entries(images.images[image.number].id, detections, kind)
        tell(done, len(own))
    if learner.processes == 1:
        return found
    return _together(found, learner, folder)


def _together(found: Results, learner: Learner, folder: Path) -> Results | None:
    """The results of all processes, through a file of each."""
    files = [
        folder / f"results-{process}-of-{learner.processes}.json"
        for process in range(learner.processes)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    files[learner.process].write_text(json.dumps(found), "utf-8")
    learner.summed(np.zeros(1))  # until all files are written
    if learner.process:
        return None
    parts = [json.loads(file.read_text("utf-8")) for file in files]
    for file in files:
        file.unlink()
    joined = {kind: [entry for part in parts for entry in part[kind]] for kind in found}
    return {k: sorted(entries, key=lambda one: one["image_id"]) for k, entries in joined.items()}
