"""torch.compile finds no graph break, and exported blocks compute the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_conformance.comparison import expected_of, judged
from nlcore_conformance.problems import Case, arrays
from nlcore_torch import NonLocalBlock
from nlcore_torch.arrays import tensor

# torch's compilers use what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

RULES = (
    {},
    {"subsample": (2, 2, 1)},
    {"subsample": (1, 2, 2), "subsample_at": "input"},
    {"extent": "space", "subsample": (1, 2, 2)},
    {"extent": "time", "subsample": (2, 1, 1)},
    {"window": 2},
)
SPECS = [
    *(
        NonLocalSpec(4, 2, pairwise=f, normalization=c, **rules)
        for f, c, rules in product(PAIRWISE, NORMALIZATIONS, RULES)
    ),
    *(NonLocalSpec(4, ndim=n, pairwise=f, subsample=(2,) * n) for n in (1, 2) for f in PAIRWISE),
    *(NonLocalSpec(4, bias=True, batch_norm=False, scale=-0.5, pairwise=f) for f in PAIRWISE[:3]),
    NonLocalSpec(4, pairwise="concatenation", pair_bias=True, bias=True),
]
FEW = [
    NonLocalSpec(4, 2, pairwise=f, normalization=c) for f, c in product(PAIRWISE, NORMALIZATIONS)
]


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch._dynamo.reset()


def made(spec: NonLocalSpec, training: bool = False) -> tuple[Case, NonLocalBlock, torch.Tensor]:
    """A problem, its block and its x."""
    case = Case(spec, 2, (4, 4, 4)[: spec.ndim], "float32", training=training)
    weights, x, _ = arrays(case)
    block = NonLocalBlock.from_spec(spec).train(training)
    block.import_weights(weights)
    return case, block, tensor(x)


def check(case: Case, z: np.ndarray) -> None:
    right = expected_of(case, "float32", False)
    assert judged("z", z, right.values["z"], right.bounds["z"], "float32").ratio <= 1


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_graph_break(spec):
    _, block, x = made(spec)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), block(x))


@pytest.mark.parametrize("spec", FEW, ids=str)
def test_no_graph_break_in_training(spec):
    _, block, x = made(replace(spec, subsample=(1, 2, 2)), training=True)
    found = []
    for function in (block, torch.compile(block, backend="aot_eager", fullgraph=True)):
        given = x.clone().requires_grad_()
        z = function(given)
        found.append((z, *torch.autograd.grad(z.square().sum(), [given, *block.parameters()])))
    for ours, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, ours)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_inductor(pairwise):
    case, block, x = made(NonLocalSpec(4, 2, pairwise=pairwise, subsample=(1, 2, 2)))
    check(case, torch.compile(block, fullgraph=True)(x).detach().numpy())


@pytest.mark.parametrize("spec", FEW, ids=str)
def test_export_with_free_sizes(spec):
    _, block, x = made(replace(spec, subsample=(1, 2, 2)))
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}  # B and T
    program = torch.export.export(block, (x,), dynamic_shapes=({**free},))
    longer = torch.cat([x, x + 1], 2)[:1]  # (1, C, 2 T, H, W)
    torch.testing.assert_close(program.module()(longer), block(longer))


@pytest.mark.parametrize("spec", [*FEW, *SPECS[-4:]], ids=str)
def test_onnx(spec):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    case, block, x = made(spec)
    program = torch.onnx.export(block, (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (name,) = (given.name for given in session.get_inputs())
    check(case, session.run(None, {name: x.numpy()})[0])
