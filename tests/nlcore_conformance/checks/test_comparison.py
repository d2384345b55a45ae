"""Answers and gradients of another form fail, with the form that was expected."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.problems.case import Case


@pytest.mark.parametrize(
    "answer, came",
    [
        (lambda z: (z, np.ones(3)), "tuple"),
        (lambda z: [1, [2, 3]], "list"),
        (lambda z: None, "NoneType"),
        (lambda z: z[..., :1], "ndarray of shape (1, 2, 1)"),
    ],
    ids=["pair", "ragged", "nothing", "short"],
)
def test_an_answer_of_another_form_fails_by_its_type(answer, came):
    def block(spec, weights, x, training=False):
        return answer(Plain().block(spec, weights, x, training))

    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")
    with pytest.raises(Failed) as found:
        attempt(named_check("forward / embedded_gaussian"), as_backend(block, "own"), case)
    note = found.value.failure.judgement.note
    assert note == f"expected an array of shape (1, 2, 3); received {came}"


def test_gradients_of_other_names_fail():
    class Numbered(Plain):
        def block_vjp(self, *args):
            dx, dweights = super().block_vjp(*args)
            return dx, dict(enumerate(dweights.values()))

    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")
    with pytest.raises(Failed, match=r"gradients must be named .*; received \['0', '1'"):
        attempt(named_check("gradient / embedded_gaussian"), Numbered(), case)


def test_an_error_is_named_with_the_innermost_line_of_the_backend_and_no_colours():
    def block(spec, weights, x, training=False):
        if "theta.weight" not in weights:
            raise RuntimeError("\x1b[31mno\x1b[0m theta\nat all")
        return np.linalg.inv(x[0])  # raises in NumPy's source

    backend = as_backend(block, "own")
    case = Case(NonLocalSpec(2, ndim=1, pairwise="gaussian"), 1, (3,), "float32")
    with pytest.raises(Failed) as found:
        attempt(named_check("forward / gaussian"), backend, case)
    line = block.__code__.co_firstlineno
    place = f"(test_comparison.py:{line + 2})"
    assert found.value.failure.error == f"raised RuntimeError: no theta\nat all {place}"
    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")
    with pytest.raises(Failed) as found:
        attempt(named_check("forward / embedded_gaussian"), backend, case)
    assert found.value.failure.error.endswith(f"(test_comparison.py:{line + 3})")
