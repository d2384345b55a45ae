"""A mutant is a subclass whose methods are replaced, or a class of its own."""

from __future__ import annotations

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.mutants.mutant import Respecified, Zoo
from nlcore_conformance.problems.case import Case, arrays

SPEC = NonLocalSpec(4, 3, ndim=1, subsample=(2,))
WEIGHTS, X, _ = arrays(Case(SPEC, 2, (6,), "float32", seed=1))


def test_methods_are_replaced_and_the_right_one_can_be_called():
    zoo = Zoo()
    zoo.replace(
        "x twice",
        "NL-7.1",
        "residual",
        "x is added twice.",
        dtypes=("float32",),
        residual=lambda self, call, v, x: Plain.residual(self, call, v, x) + x,
    )
    (mutant,) = zoo
    made = mutant.make()
    assert (mutant.name, mutant.clause, mutant.stage) == ("x twice", "NL-7.1", "residual")
    assert (mutant.mistake, made.name, made.dtypes) == (
        "x is added twice.",
        "x twice",
        ("float32",),
    )
    np.testing.assert_array_equal(made.block(SPEC, WEIGHTS, X), Plain().block(SPEC, WEIGHTS, X) + X)
    assert Plain().name == "plain"


def test_the_rule_of_a_class_is_the_first_line_of_its_docstring():
    zoo = Zoo()

    @zoo.wrong("z is x", "NL-7.1")
    class Off(Plain):
        """z = x.

        The block is there and never runs.
        """

    assert (zoo[0].mistake, zoo[0].stage, zoo[0].make().name) == ("z = x.", "", "z is x")
    assert zoo[0].make is Off


def test_another_spec_is_computed_only_where_it_is_one_and_fits():
    class Wider(Respecified):
        def other(self, spec, positions):
            return {"subsample": (5,)} if spec.subsample else {"ndim": 0}

    same = Plain().block(SPEC, WEIGHTS, X)
    assert np.abs(Wider().block(SPEC, WEIGHTS, X) - same).max() > 1e-3
    short = X[..., :4]  # shorter than the wider window
    np.testing.assert_array_equal(
        Wider().block(SPEC, WEIGHTS, short), Plain().block(SPEC, WEIGHTS, short)
    )
    spec = NonLocalSpec(4, 3, ndim=1)  # there is no spec of 0 axes
    np.testing.assert_array_equal(Wider().block(spec, WEIGHTS, X), Plain().block(spec, WEIGHTS, X))
