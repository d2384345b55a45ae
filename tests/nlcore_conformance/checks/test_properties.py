"""The properties reject what breaks them, and nothing that the arithmetic is granted."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks import properties
from nlcore_conformance.problems.case import Case

SPEC = NonLocalSpec(6, 5, ndim=1, batch_norm=False)
CASE = Case(SPEC, 2, (7,), "float32", seed=1)
#: The smallest normal number of float32.
TINY = np.finfo(np.float32).tiny


def worst(judge, backend, case=CASE) -> float:
    return max(judgement.ratio for judgement in judge(backend, case))


class Changed(Plain):
    """z, changed."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def block(self, spec, weights, x, training=False):
        return self.change(super().block(spec, weights, x, training)).astype(x.dtype)


@pytest.mark.parametrize(
    "judge",
    [
        properties.permutation,
        properties.batch_independence,
        properties.rescaling,
    ],
)
def test_an_answer_that_is_always_nan_is_not_alike(judge):
    assert worst(judge, Plain()) <= 1
    assert worst(judge, Changed(lambda z: z * np.nan)) == np.inf


def test_nan_may_be_repeated_but_not_replaced():
    nan_first = iter([np.nan, 1.0])
    assert worst(properties.repeatable, Changed(lambda z: z * np.nan)) == 0
    assert worst(properties.repeatable, Changed(lambda z: z * next(nan_first))) == np.inf


def test_a_subnormal_x_may_be_flushed_at_insertion_and_a_normal_one_may_not():
    case = Case(SPEC, 2, (7,), "float32", "subnormal", seed=1)
    assert 0 < worst(properties.identity, Changed(lambda z: np.where(abs(z) < TINY, 0, z)), case)
    assert worst(properties.identity, Changed(lambda z: np.where(abs(z) < TINY, 0, z)), case) <= 1
    assert worst(properties.identity, Changed(lambda z: np.where(abs(z) < 0.1, 0, z))) == np.inf
