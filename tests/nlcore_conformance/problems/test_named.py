"""The named problems of every check."""

from __future__ import annotations

import numpy as np

from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import CHECKS, named_check
from nlcore_conformance.problems.named import problems
from nlcore_conformance.problems.numbers import DATA


def test_named_problems_are_what_they_are_called():
    from nlcore_conformance.run.probing import allowed_templates

    for check in CHECKS:
        allowed, _ = allowed_templates(Plain(FLOATS), check.applies)
        cases = list(problems(check, allowed, FLOATS, 0))
        assert bool(cases) == (check.named or check.long or check.initial)
        if check.initial:  # hundreds of draws, and rows and columns of other lengths
            assert {(c.spec.channels, c.spec.inner_channels) for c in cases} == {(16, 128)}
            assert len({(c.spec.pairwise, c.spec.batch_norm) for c in cases}) == 8
        if not check.named:
            continue
        assert {c.data for c in cases} == set(DATA)
        sizes = [np.prod(c.positions) for c in cases]
        assert 1 in sizes
        inner = {c.spec.inner_channels for c in cases}
        assert {8, 64, 512} <= inner
        assert {c.spec.bias for c in cases} == {False, True, "embeddings"}
        widths = [(c.spec.inner_channels, c.spec.value_channels) for c in cases]
        assert {(3, 8), (7, 2), (1, 5)} <= set(widths)
        assert sum(d != v for d, v in widths) < len(widths) / 2  # the usual width is the usual one
        long = [c for c in cases if np.prod(c.positions) >= 500]
        if not check.training and not check.gradient:
            assert any(c.spec.value_channels > c.spec.inner_channels for c in long)
        assert all(c.training == check.training for c in cases)
        if not check.training:
            assert max(sizes) >= (500 if check.gradient else 4096)
        else:
            assert any(c.batch * np.prod(c.positions) == 1 for c in cases)


def test_a_path_is_asked_for_in_float32_and_in_half_precision():
    from nlcore_conformance.run.probing import allowed_templates

    def paths(spec, dtype):
        return (5000,) if spec.pairwise == "gaussian" else ()

    def beyond(name, dtypes, seed):
        check = named_check(name)
        allowed, _ = allowed_templates(Plain(FLOATS), check.applies)
        with_path = set(problems(check, allowed, dtypes, seed, paths))
        found = with_path - set(problems(check, allowed, dtypes, seed))
        assert all(c.pairs > 5000 and c.spec.pairwise == "gaussian" for c in found)
        return {(c.spec.normalization, c.dtype) for c in found}

    for name in ("forward / gaussian", "gradient / gaussian"):
        asked = beyond(name, FLOATS, 0) | beyond(name, FLOATS, 1)
        single_and_half = {(n, d) for n in ("sum", "count") for d in ("float32", "float16")}
        assert asked == {*single_and_half, ("sum", "bfloat16")}
        assert beyond(name, ("float32",), 0) == {("sum", "float32"), ("count", "float32")}
    assert beyond("forward / dot_product", FLOATS, 0) == set()
