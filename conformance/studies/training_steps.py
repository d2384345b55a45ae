"""Does an iteration of training give the same weights in PyTorch and in Keras, on each engine?

    python conformance/studies/training_steps.py compare [RECIPE...] [--engine NAME]

Each published recipe is reduced to a narrow network and small clips, with fixed statistics of batch
normalization and without dropout. Both trainers compute one iteration in float64 from the same
weights, momentum and clips. A direction v is a sign for each weight. Of each trainer, v . w' may be
as far from the exact one as a first-order bound of its rounding errors.

With the loss L, its gradient enters v . w' as s = v . dL/dw, the derivative of L along v. An error
of a stage's output y moves s by ds/dy, and an error of dL/dy moves it by the derivative of y along
v, which is ds / d(dL/dy). The bound is the sum over all stages and elements of the absolute values
of both, times the rounding error that the stage may make there. It assumes nothing about how the
errors of elements combine. Second derivatives are PyTorch's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from nlcore.video import RECIPES
from nlcore.video.recipes.weight_kinds import KINDS, kinds
from step_bounds.problems import CLIPS, Problem, drawn_problem, problem
from step_bounds.weights import step_bounds

ENGINES = ("tensorflow", "jax", "torch")

app = typer.Typer(add_completion=False)


def after_iteration(learner: Any, given: Problem) -> dict[str, np.ndarray]:
    """The weights after one iteration of a learner."""
    learner.load(given.state)
    learner.gradients(given.batches, CLIPS)
    learner.update(given.rate)
    return learner.state().weights


def torch_weights(given: Problem) -> dict[str, np.ndarray]:
    """The weights after one iteration in PyTorch, float64."""
    from nlcore_torch.video.learner import TorchLearner

    learner = TorchLearner(given.recipe)
    learner.network.double()
    return after_iteration(learner, given)


def keras_weights(problems: Mapping[str, Problem], engine: str) -> dict[str, dict[str, np.ndarray]]:
    """The same of problems by name in Keras on an engine, in a process of its own."""
    with TemporaryDirectory() as folder:
        for name, given in problems.items():
            _write(Path(folder, f"{name}.npz"), given.state.weights)
        fast = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # to compile
        environment = {**os.environ, "KERAS_BACKEND": engine, "JAX_ENABLE_X64": "1", **fast}
        command = [sys.executable, __file__, "step", folder, *problems]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"Keras on {engine}: {run.stderr}")
        return {name: dict(np.load(Path(folder, f"{name}.npz"))) for name in problems}


@app.command("step")
def step(folder: Path, names: list[str]) -> None:
    """Replace the weights in the files of FOLDER by those after one iteration in Keras."""
    from nlcore_keras.video.learner import KerasLearner

    for name in names:
        given, file = drawn_problem(name), folder / f"{name}.npz"
        given = given._replace(state=given.state._replace(weights=dict(np.load(file))))
        learner = KerasLearner(given.recipe, precision="float64")
        _write(file, after_iteration(learner, given))


def _write(file: Path, weights: dict[str, Any]) -> None:
    np.savez(file, **weights)


def directions(given: Problem) -> dict[str, dict[str, np.ndarray]]:
    """Random signs of all trained weights, twice, and of those of each kind."""
    trained = [n for group in given.recipe.groups(given.state.weights).values() for n in group]
    rng = np.random.default_rng(0)
    chosen = {"all": trained, "all, again": trained}
    chosen |= {kind: [n for n in trained if kind in kinds(n)] for kind in KINDS}
    return {
        what: {n: rng.choice([-1.0, 1.0], given.state.weights[n].shape) for n in names}
        for what, names in chosen.items()
        if names
    }


class Comparison(NamedTuple):
    """Of each direction: the difference of v . w', its bound, and how far v . w has moved."""

    differences: np.ndarray
    bounds: np.ndarray
    moved: np.ndarray

    @property
    def ratio(self) -> float:
        """The largest difference / bound; above 1 the trainers do not agree."""
        return float((self.differences / self.bounds).max())


def comparison(given: Problem, theirs: Mapping[str, np.ndarray]) -> Comparison:
    """PyTorch's weights after an iteration and those of another trainer."""
    ours, ways = torch_weights(given), list(directions(given).values())
    bounds, moved = step_bounds(given, ways)
    differences = [
        abs(sum((signs * (ours[n] - theirs[n])).sum() for n, signs in way.items())) for way in ways
    ]
    return Comparison(np.array(differences), 2 * bounds, moved)  # each is within one


@app.command("compare")
def compare(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes. Default: all.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Engines. Default: all.")] = None,
) -> None:
    """Compare PyTorch's weights after an iteration with Keras'. Exit status 1 beyond a bound."""
    problems, worst = {name: problem(name) for name in names or RECIPES}, 0.0
    table = Table("recipe", "engine", "difference / bound", "bound / step")
    for where in engine or ENGINES:
        theirs = keras_weights(problems, where)
        for name, given in problems.items():
            found = comparison(given, theirs[name])
            worst = max(worst, found.ratio)
            tight = (found.bounds / found.moved).max()
            table.add_row(name, where, f"{found.ratio:.2g}", f"{tight:.1g}")
    Console().print(table)
    raise typer.Exit(int(worst > 1))


if __name__ == "__main__":
    app()
