"""The folder of a run: its recipe, checkpoints, metrics and pictures."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import nlcore
from nlcore.video.running.checkpoint_files import (
    DESCRIPTION,
    VIDEO,
    Checkpoint,
    RecipeForm,
    check_same_training,
    newest_checkpoint,
    read_checkpoint,
    write_through,
)
from nlcore.video.running.metric_tables import MetricTable
from nlcore.video.running.run_settings import AnySettings
from nlcore.video.running.video_task import TRAINING_COLUMNS


@dataclass(frozen=True)
class RunFolder:
    """The paths in the folder of a run."""

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
        return self.training_table(TRAINING_COLUMNS)

    def training_table(self, columns: Sequence[str]) -> MetricTable:
        """Of every iteration: the rate, the columns of the task, and seconds."""
        return MetricTable(self.path / "training.csv", ("rate", *columns, "seconds"))

    def validation_table(self, columns: Sequence[str]) -> MetricTable:
        """Of every checkpoint: the columns of the task."""
        return MetricTable(self.path / "validation.csv", columns)

    def begin(self, settings: AnySettings, index: str, write: bool, warn: Callable[[str], None]
              ) -> Checkpoint | None:  # fmt: skip
        """Prepare the folder. Returns the checkpoint to go on from, or None.

        Parameters
        ----------
        settings : RunSettings
            Or settings of another training.
        index : str
            Digest of what is trained on.
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
        task = settings.task()
        form = task.form
        training = self.training_table(task.training_columns)
        found = newest_checkpoint(self.checkpoints, warn, form) if settings.resume else None
        if not settings.resume and write and training.path.exists():
            raise FileExistsError(
                f"{self.path} has a run; resume it (--resume) or choose another folder"
            )
        if found is not None:
            check_same_training(found, settings.recipe, settings.seed, index, form.elements)
        elif settings.resume:
            warn(f"{self.checkpoints} has no whole checkpoint; the training begins anew")
        if write:
            self.path.mkdir(parents=True, exist_ok=True)
            write_through(self.recipe, form.to_json(settings.recipe).encode())
            done = 0 if found is None else found.iteration
            training.keep_until(done)
            evaluated = found is not None and found.evaluated
            validation = self.validation_table(task.validation_columns)
            validation.keep_until(done if evaluated else done - 1)
        return found


def facts_of(framework: str, packages: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """What a checkpoint states of the software: versions of Python, nlcore and packages."""
    versions = {"python": platform.python_version(), "nlcore": nlcore.__version__}
    for name in ("numpy", "av", *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"framework": framework, "versions": versions, **more}


def load_run(
    path: Path | str,
    warn: Callable[[str], None] = lambda message: None,
    form: RecipeForm = VIDEO,
) -> Checkpoint:
    """The checkpoint at a path: a checkpoint's folder, or the newest whole one of a run's folder.

    Raises
    ------
    ValueError
        There is none, or it is damaged.
    """
    path = Path(path)
    if (path / DESCRIPTION).exists():
        return read_checkpoint(path, form)
    found = newest_checkpoint(RunFolder(path).checkpoints, warn, form)
    if found is None:
        raise ValueError(f"{path} must be a run or a checkpoint; received no whole checkpoint")
    return found


def checkpoint_at(
    path: Path, warn: Callable[[str], None] = lambda message: None
) -> Checkpoint | None:
    """The checkpoint of a run, of a checkpoint's folder or of a file in it; None for other files.

    Raises
    ------
    ValueError
        A folder has no whole checkpoint, or it is damaged.
    """
    if path.is_dir():
        return load_run(path, warn)
    return load_run(path.parent, warn) if (path.parent / DESCRIPTION).exists() else None
