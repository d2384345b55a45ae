"""The folder of a run: its recipe, checkpoints, metrics and pictures."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import nlcore
from nlcore.video.labels.videos import Index
from nlcore.video.loading.targets import one_label
from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.recipe_files import recipe_to_json
from nlcore.video.running.checkpoint_files import (
    DESCRIPTION,
    Checkpoint,
    check_same_training,
    newest_checkpoint,
    read_checkpoint,
    write_through,
)
from nlcore.video.running.metric_tables import MetricTable
from nlcore.video.running.run_settings import RunSettings


@dataclass(frozen=True)
class RunFolder:
    """The places in the folder of a run."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def training(self) -> MetricTable:
        """Of every iteration: the rate, the mean loss, the fraction of wrong clips, seconds."""
        return MetricTable(self.path / "training.csv", ("rate", "loss", "error", "seconds"))

    def validation(self, recipe: Recipe) -> MetricTable:
        """Of every checkpoint, see `validation_metrics`."""
        one = ("loss", "error", "top5_error")
        columns = one if one_label(recipe) else ("loss", "mean_average_precision")
        return MetricTable(self.path / "validation.csv", columns)

    def begin(self, settings: RunSettings, index: str, write: bool, warn: Callable[[str], None]
              ) -> Checkpoint | None:  # fmt: skip
        """Prepare the folder. Returns the checkpoint to go on from, or None.

        Parameters
        ----------
        settings : RunSettings
        index : str
            Digest of the training videos.
        write : bool
            Whether this process writes: it is the first one.
        warn : function

        Raises
        ------
        FileExistsError
            The folder has a run, and it is not resumed.
        ValueError
            The newest whole checkpoint is of another training.
        """
        found = newest_checkpoint(self.checkpoints, warn) if settings.resume else None
        if not settings.resume and write and self.training.path.exists():
            raise FileExistsError(
                f"{self.path} has a run; resume it (--resume) or choose another folder"
            )
        if found is not None:
            check_same_training(found, settings.recipe, settings.seed, index)
        elif settings.resume:
            warn(f"{self.checkpoints} has no whole checkpoint; the training begins anew")
        if write:
            self.path.mkdir(parents=True, exist_ok=True)
            write_through(self.recipe, recipe_to_json(settings.recipe).encode())
            self._drop_rows(settings.recipe, found)
        return found

    def _drop_rows(self, recipe: Recipe, found: Checkpoint | None) -> None:
        done = 0 if found is None else found.iteration
        self.training.keep_until(done)
        evaluated = found is not None and found.evaluated
        self.validation(recipe).keep_until(done if evaluated else done - 1)


def index_digest(index: Index) -> str:
    """SHA-256 of what training reads of an index. It does not depend on where the videos are."""
    digest = hashlib.sha256(json.dumps([len(index), *index.names]).encode())
    for video in index.videos:
        facts = (video.path, video.frames, video.fps, video.width, video.height)
        digest.update(json.dumps([*facts, video.labels, video.intervals]).encode())
    return digest.hexdigest()


def facts_of(framework: str, packages: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """What a checkpoint states of the software: versions of Python, nlcore and packages."""
    versions = {"python": platform.python_version(), "nlcore": nlcore.__version__}
    for name in ("numpy", "av", *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"framework": framework, "versions": versions, **more}


def load_run(path: Path | str, warn: Callable[[str], None] = lambda message: None) -> Checkpoint:
    """The checkpoint at a path: a checkpoint's folder, or the newest whole one of a run's folder.

    Raises
    ------
    ValueError
        There is none, or it is damaged.
    """
    path = Path(path)
    if (path / DESCRIPTION).exists():
        return read_checkpoint(path)
    found = newest_checkpoint(RunFolder(path).checkpoints, warn)
    if found is None:
        raise ValueError(f"{path} must be a run or a checkpoint; received no whole checkpoint")
    return found
