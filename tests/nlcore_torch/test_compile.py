"""torch.compile finds no graph break, and exported blocks compute the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_conformance.checks.comparison import expected_of, judged
from nlcore_conformance.problems.case import Case, arrays
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
    *(NonLocalSpec(4, 2, value_channels=5, bias="embeddings", pairwise=f) for f in PAIRWISE),
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


def check(case: Case, **received: torch.Tensor | np.ndarray) -> None:
    """Judge z, or gradients by name."""
    right = expected_of(case, "float32", "z" not in received)
    for name, came in received.items():
        found = judged(name, np.asarray(came), right.values[name], right.bounds[name], "float32")
        assert found.ratio <= 1, found


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_graph_break(spec):
    case, block, x = made(spec)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    check(case, z=compiled(x).detach())


@pytest.mark.parametrize("spec", FEW, ids=str)
def test_no_graph_break_in_training(spec):
    case, block, x = made(replace(spec, subsample=(1, 2, 2)), training=True)
    x.requires_grad_()
    z = torch.compile(block, backend="aot_eager", fullgraph=True)(x)
    check(case, z=z.detach())
    z.backward(tensor(arrays(case)[2]))
    check(case, dx=x.grad, **{name: weight.grad for name, weight in block.named_parameters()})


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_inductor(pairwise):
    case, block, x = made(NonLocalSpec(4, 2, pairwise=pairwise, subsample=(1, 2, 2)))
    check(case, z=torch.compile(block, fullgraph=True)(x).detach())


@pytest.mark.parametrize("spec", FEW, ids=str)
def test_export_with_free_sizes(spec):
    _, block, x = made(replace(spec, subsample=(1, 2, 2)))
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}  # B and T
    program = torch.export.export(block, (x,), dynamic_shapes=({**free},), strict=False)
    longer = torch.cat([x, x + 1], 2)[:1]  # (1, C, 2 T, H, W)
    torch.testing.assert_close(program.module()(longer), block(longer))


@pytest.mark.parametrize("spec", [*FEW, *SPECS[-8:]], ids=str)
def test_onnx(spec):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    case, block, x = made(spec)
    program = torch.onnx.export(block, (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (name,) = (given.name for given in session.get_inputs())
    check(case, z=session.run(None, {name: x.numpy()})[0])
