"""conformance/studies/training_steps.py: an iteration in PyTorch and in Keras, within its bound."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nlcore.video import RECIPES
from nlcore_torch.video import Network

STUDIES = Path(__file__).parents[2] / "conformance" / "studies"


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(STUDIES))  # it imports modules beside it
    spec = importlib.util.spec_from_file_location(
        "training_steps_script", STUDIES / "training_steps.py"
    )
    module = importlib.util.module_from_spec(spec)
    patch.setitem(__import__("sys").modules, spec.name, module)  # for its dataclass
    spec.loader.exec_module(module)
    yield module
    patch.undo()


@pytest.fixture(scope="module")
def paper(steps):
    return steps.problem("paper")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tensorflow", "jax", "torch"])
def test_every_recipe_within_the_bound(steps, engine):
    pytest.importorskip(engine)
    problems = {name: steps.problem(name) for name in RECIPES}
    theirs = steps.keras_weights(problems, engine)
    for name, given in problems.items():
        found = steps.comparison(given, theirs[name])
        assert found.ratio <= 1, name
        # float32 anywhere would be seen: its roundings are 2^29 times as large
        assert (found.bounds < 2.0**-25 * found.moved).all(), name


def test_what_is_wrong_by_more_than_rounding_is_beyond_the_bound(steps, paper):
    right = steps.torch_weights(paper)
    assert steps.comparison(paper, right).ratio == 0.0
    single = {name: value.astype(np.float32) for name, value in right.items()}
    assert steps.comparison(paper, single).ratio > 10
    for wrong in (
        paper._replace(recipe=replace(paper.recipe, nesterov=False)),
        paper._replace(recipe=replace(paper.recipe, undecayed=())),
        paper._replace(rate=paper.rate * (1 + 1e-8)),
    ):
        assert steps.comparison(paper, steps.torch_weights(wrong)).ratio > 10


def test_sensitivities_are_derivatives(steps, paper):
    """Errors that are put into a stage move v . dL/dw as its derivatives say."""
    from step_bounds.derivatives import Differentiated

    network = Network(paper.recipe.network, dtype=torch.float64).eval()
    network.import_weights(paper.state.weights)
    batch = paper.batches[0]
    way = {n: torch.from_numpy(v) for n, v in steps.directions(paper)["all"].items()}

    def derivative(found):
        return sum((signs * found.gradients[n]).sum().item() for n, signs in way.items())

    right = Differentiated(paper, batch, network)
    by_value, by_slope = right.moves(way)
    names = [name for name, module in network.named_modules() if name.endswith("bn2")]
    generator = torch.Generator().manual_seed(0)
    for name in (names[0], names[7]):
        layer = network.get_submodule(name)
        (y,) = [stage.y for stage in right.stages if stage.layer == name]
        error = 1e-7 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
        for kind, moves in (("value", by_value), ("slope", by_slope)):

            def wrong(module, inputs, output, kind=kind, error=error):
                if kind == "value":
                    return output + error
                output.register_hook(lambda slope: slope + error)

            hook = layer.register_forward_hook(wrong, prepend=True)
            moved = derivative(Differentiated(paper, batch, network)) - derivative(right)
            hook.remove()
            expected = (moves[id(y)] * error).sum().item()
            # the second order, of 1e-7 relative to the first, and rounding
            assert moved == pytest.approx(expected, rel=1e-3)
            assert abs(expected) > 1e-9
    bounds, step = steps.step_bounds(paper, [steps.directions(paper)["all"]])
    assert 0 < bounds[0] < 1e-8 * step[0]
