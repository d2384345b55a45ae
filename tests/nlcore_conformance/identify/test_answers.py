"""Answers of another form."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore_conformance.backend.protocol import as_backend
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
    assert found.rules == {} and found.rows == []
    assert all(why in reason for reason in found.unanswered)
    assert sum(found.unanswered.values()) == len(found.answers)
