"""The state of a new block: right ones pass, and each mistake shows in its own output."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

from nlcore import NonLocalSpec, init_weights
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.comparison import Broken
from nlcore_conformance.checks.initial_state import initial_state
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.mutants import new_blocks
from nlcore_conformance.problems.case import Case

SPEC = NonLocalSpec(64, 16, ndim=1, bias=True)
CASE = Case(SPEC, 2, (5,), "float32", seed=1)
CHECK = named_check("initial state")


class New(Plain):
    """A backend whose new blocks are changed."""

    def __init__(self, change=lambda weights: weights, init="he", dtype=np.float32):
        super().__init__(("float32", "float16"))
        self.change, self.init, self.dtype = change, init, dtype

    def initial(self, spec):
        rng = np.random.default_rng(3)
        weights = init_weights(spec, rng, self.init or "normal")
        return self.change({n: w.astype(self.dtype) for n, w in weights.items()})


def failing(backend, case=CASE) -> set[str]:
    return {j.output for j in initial_state(backend, case) if j.ratio > 1}


@pytest.mark.parametrize("init", ["he", "normal", None])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("case", [CASE, Case(SPEC, 2, (5,), "float16")], ids=lambda c: c.dtype)
def test_right_states_pass_in_every_dtype(init, dtype, case):
    assert failing(New(init=init, dtype=dtype), case) == set()


def test_every_mean_and_every_mean_square_of_a_random_weight_is_judged():
    judged = {j.output for j in initial_state(New(), CASE)}
    random = {"theta.weight", "phi.weight", "g.weight", "out.weight"}
    assert {o for o in judged if o.startswith("mean of ")} == {f"mean of {n}" for n in random}
    assert {o for o in judged if "square" in o} == {f"mean square of {n}" for n in random}
    undeclared = initial_state(New(init=None), CASE)
    assert not any(j.output.startswith("mean") for j in undeclared)
    assert {j.output for j in undeclared if j.elements} == {
        "bn.running_mean",
        "bn.running_var",
        "z",
    }


@pytest.mark.parametrize(
    "changed, wrong, undeclared",
    [
        ({"bn.weight": 1.0}, {"bn.weight", "z"}, {"z"}),
        ({"bn.bias": 0.1}, {"bn.bias", "z"}, {"z"}),
        ({"bn.running_var": 0.0}, {"bn.running_var"}, {"bn.running_var"}),
        ({"bn.running_mean": 1e-9}, {"bn.running_mean"}, {"bn.running_mean"}),
        ({"g.bias": 0.1}, {"g.bias"}, set()),
        ({"g.weight": 0.2}, {"mean of g.weight"}, set()),  # as often right, its square is
    ],
    # the order of a set's text differs between processes
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_each_mistake_shows_in_its_own_output(changed, wrong, undeclared):
    def change(weights):
        return weights | {n: np.full_like(weights[n], value) for n, value in changed.items()}

    found = failing(New(change))
    assert found - {"mean square of g.weight"} == wrong
    assert failing(New(change, init=None)) == undeclared


def test_a_w_z_of_0_is_the_identity_too_where_no_distribution_is_declared():
    def change(weights):
        ones, zeros = np.ones_like(weights["bn.weight"]), np.zeros_like(weights["out.weight"])
        return weights | {"bn.weight": ones, "out.weight": zeros}

    assert failing(New(change, init=None)) == set()
    assert failing(New(change)) == {"bn.weight", "mean square of out.weight"}


@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_wrong_deviation_is_seen_on_both_sides(factor):
    def change(weights):
        return weights | {"g.weight": np.float32(factor) * weights["g.weight"]}

    assert failing(New(change)) == {"mean square of g.weight"}


def test_another_distribution_than_the_declared_one_is_seen():
    backend = New()
    backend.init = "normal"
    weights = New().initial(SPEC)
    backend.initial = lambda spec: weights
    names = ("theta.weight", "phi.weight", "g.weight", "out.weight")
    assert failing(backend) >= {f"mean square of {name}" for name in names}


def without(weights):
    return {n: w for n, w in weights.items() if n != "g.bias"}


@pytest.mark.parametrize(
    "change, says",
    [
        (without, r"initial must return weights named \['theta.weight', .*; received \['bn.bias'"),
        (list, r"initial must return weights named .*; received \['theta.weight'"),
    ],
)
def test_other_names_are_no_answer(change, says):
    with pytest.raises(Broken, match=says):
        initial_state(New(change), CASE)


@pytest.mark.parametrize(
    "value, says",
    [
        (np.zeros((16, 63)), r"expected an array of shape \(16, 64\); received ndarray of shape"),
        (np.zeros((16, 64), int), "expected dtype float32; received int64"),
        ([[0.0]], "expected an array of shape .*; received list"),
    ],
    ids=str,
)
def test_a_weight_of_another_form_is_a_failure(value, says):
    with pytest.raises(Failed) as found:
        attempt(CHECK, New(lambda weights: weights | {"g.weight": value}), CASE)
    failure = found.value.failure
    assert failure.judgement.output == "g.weight"
    assert re.search(says, failure.judgement.note)


def test_what_raises_is_a_failure_and_what_is_not_supported_is_not():
    def crash(weights):
        raise RuntimeError("no memory")

    with pytest.raises(Failed, match="raised RuntimeError: no memory"):
        attempt(CHECK, New(crash), CASE)

    def refuse(weights):
        raise NotImplementedError("no biases")

    with pytest.raises(NotImplementedError, match="no biases"):
        attempt(CHECK, New(refuse), CASE)


@pytest.mark.parametrize("mutant", new_blocks.ZOO, ids=lambda mutant: mutant.name)
def test_every_mutant_is_seen_in_a_block_of_ordinary_size(mutant):
    failed = set()
    for spec in (SPEC, NonLocalSpec(64, 16, ndim=1, batch_norm=False)):
        failed |= failing(mutant.make(), Case(spec, 2, (5,), "float32", seed=1))
    assert failed
    assert not failing(Plain())
