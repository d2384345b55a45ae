"""Objects, classes and functions as backends, and the attributes that they may have."""

from __future__ import annotations

import pytest

from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import accumulates, as_backend, init
from nlcore_conformance.backend.reference import Reference


def test_a_backend_is_called_as_it_was_asked_for_unless_it_has_a_name():
    class Nameless:
        def block(self, spec, weights, x, training=False):
            return x

    names = [as_backend(found, "my.lib:block").name for found in (Nameless, Nameless().block)]
    assert names == ["my.lib:block"] * 2
    assert as_backend(Reference, "my.lib:block").name == "reference"


@pytest.mark.parametrize(
    "attributes, says",
    [
        ({"dtypes": "float32"}, "dtypes must be a tuple of some of .*; received 'float32'"),
        ({"dtypes": ("float8",)}, r"dtypes must be .*; received \('float8',\)"),
        ({"dtypes": ()}, r"dtypes must be .*; received \(\)"),
        ({"accumulates": "float32"}, "accumulates must map .*; received 'float32'"),
        ({"accumulates": {"float16": "int32"}}, "accumulates must map .*; received {'float16'"),
        ({"accumulates": {"half": "float32"}}, "accumulates must map .*; received {'half'"),
        ({"accumulates": {"float32": "bfloat16"}}, "no coarser than the one computed in; received"),
        ({"init": "xavier"}, r"init must be None or one of .*; received 'xavier'"),
        ({"__slots__": ()}, "must have an attribute `name`, or let one be set"),
    ],
    ids=str,
)
def test_attributes_of_another_form_are_no_backend(attributes, says):
    made = type("Made", (), {"block": lambda *args: None, **attributes})
    with pytest.raises(TypeError, match=says):
        as_backend(made, "made")


def test_what_a_backend_accumulates_in_is_its_own_word_or_float32():
    backend = Plain(FLOATS)
    assert [accumulates(backend, d) for d in ("float16", "bfloat16")] == ["float32"] * 2
    assert [accumulates(backend, d) for d in ("float32", "float64")] == ["float32", "float64"]
    backend.accumulates = {"float16": "float16"}
    assert accumulates(backend, "float16") == "float16"


def test_no_distribution_is_declared_by_default():
    assert init(as_backend(Plain().block, "plain")) is None
    assert init(Plain()) == "he"
