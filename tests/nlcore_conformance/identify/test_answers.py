"""Answers of another form, and weights that do not count."""

from __future__ import annotations

import numpy as np
import pytest
from dialect_backends import fixed

from nlcore import DIALECTS
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.identify import identify


@pytest.mark.parametrize(
    "wrong, why",
    [
        (lambda spec, weights, x, training=False: x[:1], "expected an array of shape"),
        (lambda spec, weights, x, training=False: 1 / 0, "ZeroDivisionError"),
        (lambda spec, weights, x, training=False: x.astype(np.float64), "expected dtype float32"),
    ],
)
def test_no_answer_is_no_dialect(wrong, why):
    found = identify(as_backend(wrong, "wrong"))
    assert not found.identified
    assert found.sentence == "answers none of the specs that it is asked"
    assert all(why in reason for reason in found.unanswered)
    assert sum(found.unanswered.values()) == sum(len(f.answers) for f in found.findings)


def test_a_bias_of_w_z_that_some_sources_do_not_have_does_not_count():
    class Without(Reference):
        dtypes = ("float32",)

        def block(self, spec, weights, x, training=False):
            if "out.bias" in weights:
                weights = {**weights, "out.bias": np.zeros_like(weights["out.bias"])}
            return super().block(spec, weights, x, training)

    assert identify(Without()).dialects == tuple(DIALECTS)


def test_mmcv_is_found_beside_batch_normalization_where_its_w_z_has_no_bias():
    assert identify(fixed("mmcv", batch_norm=True)).dialects == ("mmcv",)
