"""The specs that a backend is asked for.

First those of all dialects. A backend that supports none of them for a pairwise function is asked
for specs that it supports. Then specs that were answered are changed, one rule at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import nlcore
from nlcore import DIALECTS, NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.rules import changed
from nlcore_conformance.run.probing import allowed_templates

#: Sizes at which the scales differ.
_CHANNELS, _INNER = 16, 8
#: C for a backend that refuses the usual one.
_MORE_CHANNELS = 64
#: How many specs are asked of a backend that supports no dialect's own.
_OWN = 16


@cache
def dialect_spec(
    name: str, pairwise: str, ndim: int, inner: int = _INNER, channels: int = _CHANNELS
) -> NonLocalSpec | None:
    """The dialect's spec, or None if it lacks this pairwise function or number of axes."""
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    return nlcore.dialect(name, channels, pairwise, ndim=ndim, inner_channels=inner)


def questions() -> list[NonLocalSpec]:
    """The distinct specs of all dialects."""
    every = itertools.product((3, 2, 1), PAIRWISE, DIALECTS)
    specs = (dialect_spec(name, pairwise, ndim) for ndim, pairwise, name in every)
    return list(dict.fromkeys(changed(spec, {}) for spec in specs if spec is not None))


def own_questions(backend: Backend, pairwise: str) -> Iterator[list[NonLocalSpec]]:
    """Specs of a pairwise function that the backend supports: some, and others if none is right."""
    allowed, _ = allowed_templates(backend, lambda spec: spec.pairwise == pairwise)
    for channels in (_CHANNELS, _MORE_CHANNELS):
        found = (
            template.spec(choice, channels, _INNER, 3, 2)
            for template, choices in allowed.items()
            for choice in choices.each()
        )
        yield list(itertools.islice(dict.fromkeys(changed(spec, {}) for spec in found), _OWN))


def seeds(answers: list[Answer]) -> list[NonLocalSpec]:
    """The specs that are changed: of those answered, the one with the most parts, and the least."""
    answered = [answer.asked for answer in answers if answer.z is not None]

    def parts(spec: NonLocalSpec) -> tuple[int, int]:
        has = spec.subsample is not None, spec.bias is True, spec.batch_norm, spec.pair_bias
        return spec.ndim, sum(has)

    deep = [spec for spec in answered if spec.ndim == max(s.ndim for s in answered)]
    return list(dict.fromkeys(pick(deep, key=parts) for pick in (max, min) if deep))
