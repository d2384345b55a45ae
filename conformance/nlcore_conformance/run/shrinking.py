"""A smaller case that fails too: each size is reduced as far as the check still fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.judging import Failed, Failure, attempt
from nlcore_conformance.problems.case import Case

#: How many smaller cases are judged.
TRIES = 60


def shrunk(check: Check, backend: Backend, failure: Failure) -> Failure:
    """The failure of the smallest case that is reached in steps which all fail."""
    tries, candidates = 0, smaller(failure.case)
    while tries < TRIES and (case := next(candidates, None)) is not None:
        if supports(backend, case.spec, case.dtype) is not True:
            continue
        tries += 1
        try:
            attempt(check, backend, case)
        except NotImplementedError:
            continue
        except Failed as error:
            failure, candidates = error.failure, smaller(case)
    return failure


def smaller(case: Case) -> Iterator[Case]:
    """The case with one size reduced, the largest steps first."""
    spec = case.spec
    for axis, count in enumerate(case.positions):
        step = spec.window if spec.window and axis == 0 else 1
        least = max(step, spec.pool[axis])
        for fewer in _reduced(count, least, step):
            positions = (*case.positions[:axis], fewer, *case.positions[axis + 1 :])
            yield replace(case, positions=positions)
    # batch statistics of a single value are left out: frameworks may refuse them
    for fewer in _reduced(case.batch, 2 if case.training else 1, 1):
        yield replace(case, batch=fewer)
    for channels in _reduced(spec.channels, 1, 1):
        with contextlib.suppress(ValueError):  # no such spec
            yield replace(case, spec=with_channels(spec, channels))
    if case.data != "normal":
        yield replace(case, data="normal")
    if case.layout != "contiguous":
        yield replace(case, layout="contiguous")


def _reduced(count: int, least: int, step: int) -> list[int]:
    """Fewer than `count`: the least, twice as many and so on, in multiples of `step`."""
    found = []
    while least < count:
        found.append(-(-least // step) * step)
        least *= 2
    return [n for n in found if n < count]


def with_channels(spec: NonLocalSpec, channels: int) -> NonLocalSpec:
    """The spec with other channels, the widths in proportion, and the same formula of the scale."""

    def width(old: int) -> int:
        return max(old * channels // spec.channels, 1)

    inner, value = width(spec.inner_channels), width(spec.value_channels)
    formulas = {1.0: 1.0}
    for old, new in ((spec.channels, channels), (spec.inner_channels, inner)):
        formulas |= {old**power: new**power for power in (-0.5, 0.5)}
    scale = formulas.get(spec.scale, spec.scale)
    return replace(spec, channels=channels, inner_channels=inner, value_channels=value, scale=scale)
