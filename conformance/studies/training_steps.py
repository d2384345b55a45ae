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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple
from unittest import mock

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from nlcore.video import RECIPES, Recipe
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import Batch
from nlcore.video.recipes.weight_kinds import KINDS, kinds
from nlcore.video.running.learner import LearnerState

ENGINES = ("tensorflow", "jax", "torch")
#: Roundings of batch normalization, and of its factor, see `networks.BN_ROUNDINGS`.
ROUNDINGS = 8
#: Windows of pool1, which share a position, along T, H and W.
SHARED = 8
#: Roundings of a weight's update: decay, momentum, Nesterov, rate, each a product and a sum.
UPDATE_ROUNDINGS = 10
#: Clips of an iteration, each on a device of its own, so that gradients of two batches are added.
CLIPS = 2

app = typer.Typer(add_completion=False)


class Problem(NamedTuple):
    """What both trainers are given.

    Attributes
    ----------
    recipe : Recipe
    state : LearnerState
        float64.
    batches : list of Batch
        float64.
    rate : float
    """

    recipe: Recipe
    state: LearnerState
    batches: list[Batch]
    rate: float


def problem(name: str) -> Problem:
    """The problem of a published recipe, with the statistics of its clips.

    So activations neither grow nor fade, and rounding errors neither.
    """
    import torch
    from networks import calibrate

    from nlcore_torch.video.network import Network

    given = drawn_problem(name)
    network = Network(given.recipe.network, dtype=torch.float64)
    network.import_weights(given.state.weights)
    clips = np.concatenate([batch.pixels for batch in given.batches])
    calibrate(network, torch.from_numpy(clips))
    return given._replace(state=given.state._replace(weights=network.export_weights()))


def drawn_problem(name: str) -> Problem:
    """The problem before. It is the same in each process."""
    known = RECIPES[name]
    recipe = replace(
        known,
        network=replace(known.network, width=2, classes=5, dropout=0.0),
        batch_norm="affine" if known.batch_norm == "affine" else "fixed_statistics",
        precise_statistics=0,
        batch=CLIPS,
        clips_per_device=1,
    )
    rng = np.random.default_rng(sorted(RECIPES).index(name))
    weights = initial_network_weights(recipe.network, 0, block_identity=False)
    state = LearnerState({n: _drawn(n, w, rng) for n, w in weights.items()}, {}, {})
    if recipe.momentum:
        for group in recipe.groups(weights).values():
            for weight in group:
                state.momentum[weight] = 1e-2 * rng.normal(size=weights[weight].shape)
    batches = []
    for slot in range(CLIPS):
        pixels = rng.normal(size=(1, 3, 8, 48, 48))
        several = recipe.loss == "sigmoid_cross_entropy"
        targets = (
            rng.integers(0, 2, (1, 5)).astype(np.float64) if several else rng.integers(0, 5, 1)
        )
        batches.append(Batch(0, slot, np.array([slot]), pixels, targets))
    videos = known.stated_videos
    rate = recipe.learning_rate(recipe.total_iterations(videos) // 2, videos)
    return Problem(recipe, state, batches, rate)


def _drawn(name: str, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A weight with no special value: none is 0 or 1. Branches are smaller than what they join."""
    value = weight.astype(np.float64)
    if name.endswith(("bn3.weight", "non_local.bn.weight")):
        return rng.uniform(0.1, 0.3, value.shape)
    if weight.ndim > 1:
        return value * rng.uniform(0.5, 1.5, value.shape)
    if name.endswith(("running_var", "weight")):
        return rng.uniform(0.5, 1.5, value.shape)
    return rng.normal(size=value.shape) / 4


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


@dataclass
class Stage:
    """A stage of the network: its tensors, and the errors that it may make by itself.

    Attributes
    ----------
    layer : str
        Name of the layer, or of the residual block.
    x, y : Tensor
        Input and output, of which the loss is differentiated.
    forward : Tensor or float
        Errors of y.
    backward : function of dL/dy and dL/dx
        Errors of dL/dx, and of the gradients of weights by name.
    """

    layer: str
    x: Any
    y: Any
    forward: Any
    backward: Callable[[Any, Any], tuple[Any, dict[str, Any]]]


class Recorded:
    """The stages of one forward pass, by hooks."""

    def __init__(self, network: Any) -> None:
        import torch
        from networks import FLOAT64

        from nlcore_torch.batch_norm import BatchNorm3d
        from nlcore_torch.block import NonLocalBlock
        from nlcore_torch.video.network import ResidualBlock

        self.torch, self.arithmetic, self.stages = torch, FLOAT64, list[Stage]()
        self._hooks = []
        known: list[tuple[Any, Callable[..., None]]] = [
            (torch.nn.Conv3d, self._convolution),
            (BatchNorm3d, self._norm),
            (torch.nn.MaxPool3d, self._pool),
            (ResidualBlock, self._residual),
            (NonLocalBlock, self._block),
            (torch.nn.Linear, self._fc),
        ]
        for name, module in network.named_modules():
            for kind, record in known:
                if isinstance(module, kind) and ".non_local." not in name:
                    self._hooks.append(module.register_forward_hook(_named(record, name)))

    def _convolution(self, name: str, module: Any, x: Any, y: Any) -> None:
        torch, gamma = self.torch, self.arithmetic.gamma
        outputs, terms = module.weight.shape[0], module.weight[0].numel()
        kernel = terms // module.weight.shape[1]

        def sizes(values: Any = None) -> Any:
            """Sums of absolute values like the output, or like the gradients of (x, weight)."""
            given = [t.detach().abs().requires_grad_() for t in (x, module.weight)]
            found = torch.nn.functional.conv3d(*given, None, module.stride, module.padding)
            if values is None:
                return found.detach()
            return torch.autograd.grad(found, given, values.abs())

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            of_x, of_weight = sizes(dy)
            positions = y.numel() // outputs
            return gamma(outputs * kernel) * of_x, {f"{name}.weight": gamma(positions) * of_weight}

        self.stages.append(Stage(name, x, y, gamma(terms) * sizes(), backward))

    def _norm(self, name: str, module: Any, x: Any, y: Any) -> None:
        unit, over = self.arithmetic.unit, (-1, 1, 1, 1)
        inverse = (1 / (module.running_var + module.eps).sqrt()).view(over)
        factor = inverse * module.weight.detach().abs().view(over)
        size = x.detach().abs() + module.running_mean.abs().view(over)
        bias = module.bias.detach().abs().view(over)

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            axes = (0, 2, 3, 4)
            sums = self.arithmetic.gamma(y.numel() // y.shape[1] + ROUNDINGS)
            weight = sums * (dy.abs() * size * inverse).sum(axes)
            own = {f"{name}.weight": weight, f"{name}.bias": sums * dy.abs().sum(axes)}
            return ROUNDINGS * unit * factor * dy.abs(), own

        self.stages.append(Stage(name, x, y, ROUNDINGS * unit * (factor * size + bias), backward))

    def _pool(self, name: str, module: Any, x: Any, y: Any) -> None:
        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            given = x.detach().requires_grad_()
            (size,) = self.torch.autograd.grad(module.forward(given), given, dy.abs())
            return self.arithmetic.gamma(SHARED) * size, {}

        self.stages.append(Stage(name, x, y, 0.0, backward))

    def _residual(self, name: str, module: Any, x: Any, y: Any) -> None:
        """The sum of two paths, and of the gradients of both."""
        unit = self.arithmetic.unit
        total = self.stages[-1].x if module.non_local is not None else y
        forward = unit * total.detach().abs()
        self.stages.append(Stage(name, x, total, forward, lambda dy, dx: (unit * dx.abs(), {})))

    def _block(self, name: str, module: Any, x: Any, y: Any) -> None:
        from nlcore_conformance.bounds.block_bounds import block_bounds

        weights = {n: value.numpy() for n, value in module.state_dict().items()}
        rows = x.detach().numpy()
        forward = block_bounds(module.spec, weights, rows, dtype="float64", pairs=2**23)["z"]

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            bounds = block_bounds(module.spec, weights, rows, dy.numpy(), dtype="float64")
            found = {n: self.torch.from_numpy(b) for n, b in bounds.items() if n != "z"}
            return found.pop("dx"), {f"{name}.{n}": bound for n, bound in found.items()}

        self.stages.append(Stage(name, x, y, self.torch.from_numpy(forward), backward))

    def _fc(self, name: str, module: Any, x: Any, y: Any) -> None:
        """The mean over all positions, and fc."""
        gamma, values = self.arithmetic.gamma, self.stages[-1].y
        count, classes = values[0, 0].numel(), module.weight.shape[0]
        mean = gamma(count + 2) * values.detach().abs().mean((2, 3, 4))
        self.stages.append(
            Stage("mean", values, x, mean, lambda dy, dx: (2 * self.arithmetic.unit * dx.abs(), {}))
        )
        size, weight = x.detach().abs(), module.weight.detach().abs()

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            rows, dy = gamma(len(dy)), dy.abs()
            own = {f"{name}.weight": rows * dy.T @ size, f"{name}.bias": rows * dy.sum(0)}
            return gamma(classes) * dy @ weight, own

        forward = gamma(weight.shape[1] + 1) * (size @ weight.T + module.bias.detach().abs())
        self.stages.append(Stage(name, x, y, forward, backward))

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _named(record: Callable[..., None], name: str) -> Callable[..., None]:
    return lambda module, inputs, output: record(name, module, inputs[0], output)


@contextmanager
def new_tensors() -> Iterator[None]:
    """ReLUs of the network return new tensors, so that a stage's output stays as it was."""
    import torch

    with mock.patch("nlcore_torch.video.network.F.relu", lambda x, inplace=False: torch.relu(x)):
        yield


def step_bounds(
    given: Problem, directions: Sequence[Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of |v . w' - the exact one| of one trainer, and |v . (w' - w)| in PyTorch.

    Both have one value for each direction, which has arrays by names of trained weights.
    """
    import torch
    from networks import FLOAT64

    from nlcore_torch.video.network import Network

    network = Network(given.recipe.network, dtype=torch.float64).eval()
    network.import_weights(given.state.weights)
    total, sizes = _summed_gradients(network, given)
    ways = [_before_clipping(given.recipe, total, way) for way in directions]
    errors = np.zeros(len(ways))
    for batch in given.batches:
        tensors = [{n: torch.from_numpy(v) for n, v in way.items()} for way in ways]
        errors += Differentiated(given, batch, network).errors(tensors)
    recipe, rate = given.recipe, given.rate
    factor = _clipping_factor(recipe, total)
    errors *= rate * (1.0 + recipe.momentum * recipe.nesterov)
    moved = np.zeros(len(ways))
    norm_error = FLOAT64.gamma(sum(g.size for g in total.values())) if factor < 1.0 else 0.0
    for k, way in enumerate(directions):
        for name, signs in way.items():
            weight = given.state.weights[name]
            buffer = np.abs(given.state.momentum.get(name, np.zeros_like(weight)))
            slope = factor * sizes[name]
            size = slope + recipe.decay(name) * np.abs(weight) + recipe.momentum * buffer
            size = np.abs(weight) + rate * (1.0 + recipe.momentum) * size
            error = UPDATE_ROUNDINGS * FLOAT64.unit * size
            error = error + rate * (1.0 + recipe.momentum) * norm_error * slope
            errors[k] += (np.abs(signs) * error).sum()
            moved[k] += (np.abs(signs) * rate * factor * np.abs(total[name])).sum()
    return errors, moved


def trained_parameters(given: Problem, network: Any) -> dict[str, Any]:
    """The trained weights of a network, by name."""
    groups = given.recipe.groups(given.state.weights).values()
    return {name: network.get_parameter(name) for group in groups for name in group}


def _summed_gradients(
    network: Any, given: Problem
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The sums over the batches of the gradients, and of their absolute values, by name."""
    import torch

    parameters = trained_parameters(given, network)
    total = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    sizes = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    for batch in given.batches:
        logits = network(torch.from_numpy(batch.pixels))
        loss, _ = _loss(given.recipe, logits, torch.from_numpy(batch.targets))
        found = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, found, strict=True):
            total[name] += gradient.numpy()
            sizes[name] += np.abs(gradient.numpy())
    return total, sizes


def _norm(arrays: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(array).sum() for array in arrays.values())))


def _clipping_factor(recipe: Recipe, total: Mapping[str, np.ndarray]) -> float:
    """By what the gradients are multiplied."""
    largest = recipe.clip_norm
    return 1.0 if largest is None else min(1.0, largest / _norm(total))


def _before_clipping(
    recipe: Recipe, total: Mapping[str, np.ndarray], way: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The direction along which an error of the gradient moves v . (the clipped gradient).

    With g' = c g / |g|, it is c / |g| (v - g (g . v) / |g|^2).
    """
    factor = _clipping_factor(recipe, total)
    if factor == 1.0:
        return dict(way)
    along = sum((signs * total[name]).sum() for name, signs in way.items()) / _norm(total) ** 2
    return {n: factor * (way.get(n, np.zeros_like(g)) - along * g) for n, g in total.items()}


class Differentiated:
    """The gradient of a batch's loss, with its derivatives by what each stage computes.

    Attributes
    ----------
    stages : list of Stage
    gradients : dict of str to Tensor
        Of the trained weights, by name.
    """

    def __init__(self, given: Problem, batch: Batch, network: Any) -> None:
        import torch

        recorded = Recorded(network)
        try:
            with new_tensors():
                # a gradient by the clip, so that conv1 has one of its input, too
                logits = network(torch.from_numpy(batch.pixels).requires_grad_())
        finally:
            recorded.remove()
        self.stages, self._torch = recorded.stages, torch
        loss, self._logit_errors = _loss(given.recipe, logits, torch.from_numpy(batch.targets))
        parameters = trained_parameters(given, network)
        stages = self.stages
        self._tensors = list({id(t): t for s in stages for t in (s.x, s.y)}.values())
        wanted = [*self._tensors, *parameters.values()]
        found = torch.autograd.grad(loss, wanted, create_graph=True)
        count = len(self._tensors)
        self._slopes = {id(t): s for t, s in zip(self._tensors, found[:count], strict=True)}
        self.gradients = dict(zip(parameters, found[count:], strict=True))

    def slope(self, tensor: Any) -> Any:
        """dL/dt of a stage's input or output t."""
        return self._slopes[id(tensor)].detach()

    def moves(self, way: Mapping[str, Any]) -> tuple[dict[int, Any], dict[int, Any]]:
        """The derivatives of s = v . dL/dw by each t and by each dL/dt, by the identity of t."""
        s = sum((signs * self.gradients[name]).sum() for name, signs in way.items())
        wanted = [*self._tensors, *self._slopes.values()]
        found = self._torch.autograd.grad(s, wanted, retain_graph=True, materialize_grads=True)
        names, count = [id(t) for t in self._tensors], len(self._tensors)
        return (
            dict(zip(names, found[:count], strict=True)),
            dict(zip(names, found[count:], strict=True)),
        )

    def errors(self, ways: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """First-order errors of v . dL/dw, for each direction."""
        own = [s.backward(self.slope(s.y), self.slope(s.x)) for s in self.stages]
        logits, errors = self.stages[-1].y, []
        for way in ways:
            by_value, by_slope = self.moves(way)
            error = (by_slope[id(logits)].abs() * self._logit_errors).sum()
            for stage, (of_x, of_weights) in zip(self.stages, own, strict=True):
                error += (by_value[id(stage.y)].abs() * stage.forward).sum()
                error += (by_slope[id(stage.x)].abs() * of_x).sum()
                for name in of_weights.keys() & way.keys():
                    error += (way[name].abs() * of_weights[name]).sum()
            errors.append(float(error))
        return np.array(errors)


def _loss(recipe: Recipe, logits: Any, targets: Any) -> tuple[Any, Any]:
    """The loss of a batch, and the errors of its gradient by the logits.

    The gradient is p - t with p the softmax or the sigmoid. A sigmoid, as the derivative of
    relu(z) - z t + log(1 + exp(-|z|)), is the sum of three terms of at most 1, of which the last
    has some ten roundings.
    """
    import torch.nn.functional as F
    from networks import FLOAT64, softmax_errors

    unit = FLOAT64.unit
    if recipe.loss == "sigmoid_cross_entropy":
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        share = 1.0 / (logits.shape[1] * CLIPS)
        return total * share, share * 12 * unit + 0.0 * logits.detach()
    z = logits.detach()
    wrong = z.softmax(-1) - F.one_hot(targets, z.shape[1])
    errors = (softmax_errors(z) + 4 * unit * wrong.abs()) / CLIPS
    return F.cross_entropy(logits, targets, reduction="sum") / CLIPS, errors


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
