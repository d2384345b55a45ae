"""Checkpoints: folders with weights, momentum and their description. None is ever half written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlcore.video.network_weights import check_network_weights
from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.recipe_files import recipe_from_json, recipe_to_json
from nlcore.video.running.learner import LearnerState

#: Version of the files' form.
VERSION = 1
DESCRIPTION, WEIGHTS, MOMENTUM = "checkpoint.json", "weights.safetensors", "momentum.safetensors"
#: Fields of recipes that do not change the training.
WORDS = ("name", "sources", "initial_recipe")


class RecipeForm(NamedTuple):
    """How the recipes of one kind of training are stored in checkpoints.

    Attributes
    ----------
    kind : str
        Key of the version in a checkpoint's description. Other keys are of other trainings.
    elements : str
        What is trained on, such as "videos".
    to_json, from_json : function
        The recipe as the text of a JSON object, and back.
    check_weights : function
        Raises a ValueError unless weights by name are those of the recipe's network.
    """

    kind: str
    elements: str
    to_json: Callable[[Any], str]
    from_json: Callable[[str], Any]
    check_weights: Callable[[Any, Mapping[str, Any]], None]


def _check_video_weights(recipe: Recipe, weights: Mapping[str, Any]) -> None:
    check_network_weights(recipe.network, weights)


#: `nlcore.video.Recipe`.
VIDEO = RecipeForm(
    "nlcore_video_checkpoint", "videos", recipe_to_json, recipe_from_json, _check_video_weights
)


@dataclass(frozen=True)
class Checkpoint:
    """A training after a number of iterations.

    Attributes
    ----------
    iteration : int
        Number of iterations that are done.
    recipe : Recipe
        Or a recipe of another `RecipeForm`.
    seed : int
    state : LearnerState
    index : str
        Digest of what is trained on, see `index_digest`.
    evaluated : bool
        Whether statistics were computed and validation was done at this point.
    facts : dict
        What else is stored as JSON: the framework, versions, number of processes, names of the
        labels.
    """

    iteration: int
    recipe: Any
    seed: int
    state: LearnerState = field(repr=False)
    index: str = ""
    evaluated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, from label 0 on. Empty if the training did not store them."""
        return tuple(self.facts.get("names", ()))


def checkpoint_name(iteration: int) -> str:
    """Name of a checkpoint's folder.

    Examples
    --------
    >>> checkpoint_name(4000)
    'iteration-00004000'
    """
    return f"iteration-{iteration:08d}"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest last. Whether they are whole is not checked."""
    found = [p for p in folder.glob("iteration-*") if p.is_dir() and p.name[10:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[10:]))


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, keep: int = 3, form: RecipeForm = VIDEO
) -> Path:
    """Write a checkpoint into a folder, and remove older ones but the newest `keep`.

    It is written aside, written through to the disk, and renamed.

    Raises
    ------
    OSError
        It cannot be written. The checkpoints in the folder are as before.
    ValueError
        A weight is not finite. Nothing is written.
    """
    _check_finite(checkpoint.state)
    path = folder / checkpoint_name(checkpoint.iteration)
    aside = folder / f"{path.name}.writing"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        _write_files(aside, checkpoint, form)
        if path.exists():  # the same iteration, before it was evaluated
            old = folder / f"{path.name}.old"
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.rename(path)
        _synchronize(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        last = ["none", *map(str, checkpoints_in(folder))][-1]
        raise OSError(
            error.errno,
            f"{path} could not be written: {error.strerror or error}; the last whole checkpoint "
            f"is {last}",
        ) from error
    for older in checkpoints_in(folder)[:-keep]:
        shutil.rmtree(older)
    return path


def _check_finite(state: LearnerState) -> None:
    for kind in ("weights", "momentum"):
        wrong = [n for n, value in getattr(state, kind).items() if not np.isfinite(value).all()]
        if wrong:
            raise ValueError(
                f"{kind} must be finite to be written into a checkpoint; {len(wrong)} are not, "
                f"such as {wrong[0]!r}"
            )


def _write_files(folder: Path, checkpoint: Checkpoint, form: RecipeForm) -> None:
    from safetensors.numpy import save

    state = checkpoint.state
    digests = {}
    for name, arrays in ((WEIGHTS, state.weights), (MOMENTUM, state.momentum)):
        content = save({key: np.require(value, requirements="C") for key, value in arrays.items()})
        digests[name] = hashlib.sha256(content).hexdigest()
        write_through(folder / name, content)
    description = {
        form.kind: VERSION,
        "iteration": checkpoint.iteration,
        "evaluated": checkpoint.evaluated,
        "seed": checkpoint.seed,
        "index": checkpoint.index,
        "facts": checkpoint.facts,
        "extra": state.extra,
        "files": digests,
        "recipe": json.loads(form.to_json(checkpoint.recipe)),
    }
    write_through(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())
    _synchronize(folder)


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _synchronize(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path | str, form: RecipeForm = VIDEO) -> Checkpoint:
    """Read a checkpoint and check that it is whole.

    Raises
    ------
    ValueError
        It is damaged, or of another version, or its weights are not those of its network. The
        error names the file.
    OSError
        A file does not exist or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    try:
        about = json.loads((path / DESCRIPTION).read_text("utf-8"))
        if about[form.kind] != VERSION:
            raise ValueError(f"its version must be {VERSION}")
        arrays = []
        for name in (WEIGHTS, MOMENTUM):
            content = (path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != about["files"][name]:
                raise ValueError(f"{name} is not as it was written")
            arrays.append(load(content))
        recipe = form.from_json(json.dumps(about["recipe"]))
        form.check_weights(recipe, arrays[0])
        state = LearnerState(arrays[0], arrays[1], about["extra"])
        kept = (about[key] for key in ("index", "evaluated", "facts"))
        return Checkpoint(about["iteration"], recipe, about["seed"], state, *kept)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        what = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not a whole checkpoint: {what}") from None


def newest_checkpoint(
    folder: Path,
    warn: Callable[[str], None] = lambda message: None,
    form: RecipeForm = VIDEO,
) -> Checkpoint | None:
    """The newest whole checkpoint in a folder, or None.

    Damaged ones are skipped, with a warning that names each.
    """
    for path in reversed(checkpoints_in(folder)):
        try:
            return read_checkpoint(path, form)
        except (ValueError, OSError) as error:
            warn(f"skipped a damaged checkpoint: {error}")
    return None


def different_fields(one: Any, other: Any, ignored: Iterable[str] = WORDS) -> list[str]:
    """The names of the fields in which two recipes differ."""
    names = [f.name for f in fields(one) if f.name not in set(ignored)]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def check_same_training(
    checkpoint: Checkpoint, recipe: Any, seed: int, index: str, elements: str = VIDEO.elements
) -> None:
    """Raise a ValueError unless a checkpoint is of this training."""
    wrong = [
        f"{name}: the checkpoint has {getattr(checkpoint.recipe, name)!r}, the recipe "
        f"{getattr(recipe, name)!r}"
        for name in different_fields(checkpoint.recipe, recipe)
    ]
    if checkpoint.seed != seed:
        wrong.append(f"seed: the checkpoint has {checkpoint.seed}, the run {seed}")
    if checkpoint.index != index:
        wrong.append(f"the training {elements}")
    if wrong:
        raise ValueError(
            f"the checkpoint of iteration {checkpoint.iteration} must be of the same training to "
            f"be resumed; they differ in {'; '.join(wrong)}. To go on with other settings, begin "
            "another run with this one as its initial weights"
        )
