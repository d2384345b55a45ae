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
from nlcore_conformance.identify.rules import changed, scale_names
from nlcore_conformance.run.probing import allowed_templates

#: Sizes at which the scales differ.
_CHANNELS, _INNER = 16, 8
#: C for a backend that refuses the usual one.
_MORE_CHANNELS = 64
#: How many specs are asked of a backend that supports no dialect's own.
_OWN = 16


@cache
def dialect_spec(
    name: str, pairwise: str, ndim: int, sizes: NonLocalSpec | None = None
) -> NonLocalSpec | None:
    """The dialect's spec, or None if it lacks this pairwise function or number of axes.

    C, D and V are those of the spec `sizes`.
    """
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    sizes = sizes or NonLocalSpec(_CHANNELS, _INNER)
    widths = {"inner_channels": sizes.inner_channels, "value_channels": sizes.value_channels}
    return nlcore.dialect(name, sizes.channels, pairwise, ndim=ndim, **widths)


def questions() -> list[NonLocalSpec]:
    """The distinct specs of all dialects."""
    every = itertools.product((3, 2, 1), PAIRWISE, DIALECTS)
    specs = (dialect_spec(name, pairwise, ndim) for ndim, pairwise, name in every)
    return list(dict.fromkeys(changed(spec, {}) for spec in specs if spec is not None))


def own_questions(backend: Backend, pairwise: str) -> Iterator[list[NonLocalSpec]]:
    """A few specs that the backend supports of a pairwise function, then those with a larger C."""
    allowed, _ = allowed_templates(backend, lambda spec: spec.pairwise == pairwise)
    for channels in (_CHANNELS, _MORE_CHANNELS):
        found: dict[NonLocalSpec, None] = {}
        for template, choices in allowed.items():
            for choice in choices.each():
                if len(found) < _OWN:
                    spec = template.spec(choice, channels, _INNER, _INNER + 3, 3, 2)
                    found[changed(spec, {})] = None
        yield list(found)


def seeds(answers: list[Answer]) -> list[NonLocalSpec]:
    """The specs to change: of those answered, the one with the most parts, and the one with least.

    They have as many axes as possible, and a D at which the scale's formula is known.
    """
    answered = [answer.asked for answer in answers if answer.z is not None]

    def parts(spec: NonLocalSpec) -> int:
        return sum((spec.subsample is not None, spec.bias is True, spec.batch_norm, spec.pair_bias))

    def place(spec: NonLocalSpec) -> tuple[int, bool]:
        return spec.ndim, len(scale_names(spec)) == 1

    first = max(map(place, answered), default=None)
    best = [spec for spec in answered if place(spec) == first]
    return list(dict.fromkeys(pick(best, key=parts) for pick in (max, min) if best))
