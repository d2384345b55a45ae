"""The specs that a backend is asked for.

First those of all dialects. A backend that supports none of them for a pairwise function is asked
for specs that it supports. Then specs that were answered are changed, one rule at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import nlcore
from nlcore import DIALECTS, NonLocalSpec
from nlcore.dialects import POOLS
from nlcore.spec import BIASES, NORMALIZATIONS, PAIRWISE, SUBSAMPLE_AT
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.rules import changed, scale_names
from nlcore_conformance.problems.templates import EPS, INNER, SCALES
from nlcore_conformance.run.probing import allowed_templates, answer

#: Sizes at which the scales differ.
_CHANNELS, _INNER = 16, 8
#: C for a backend that refuses the usual one.
_MORE_CHANNELS = 64
#: How many specs are asked of a backend that supports no dialect's own.
_OWN = 16


@cache
def dialect_spec(
    name: str,
    pairwise: str,
    ndim: int,
    sizes: NonLocalSpec | None = None,
    options: tuple[str, ...] = (),
) -> NonLocalSpec | None:
    """The dialect's spec, or None if it lacks this pairwise function or number of axes.

    C, D and V are those of the spec `sizes`. Options are "batch normalization" and "subsampling".
    """
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    sizes = sizes or NonLocalSpec(_CHANNELS, _INNER)
    names = "channels", "inner_channels", "value_channels"
    fields: dict[str, Any] = {name: getattr(sizes, name) for name in names}
    if "batch normalization" in options:
        fields["batch_norm"] = True
    if "subsampling" in options:
        fields["subsample"] = POOLS[ndim]
    return nlcore.dialect(name, pairwise=pairwise, ndim=ndim, **fields)


def questions() -> list[NonLocalSpec]:
    """The distinct specs of all dialects."""
    every = itertools.product((3, 2, 1), PAIRWISE, DIALECTS)
    specs = (dialect_spec(name, pairwise, ndim) for ndim, pairwise, name in every)
    return list(dict.fromkeys(changed(spec, {}) for spec in specs if spec is not None))


def own_questions(backend: Backend, pairwise: str) -> list[NonLocalSpec]:
    """A few specs of a pairwise function that the backend supports, over all positions."""
    specs = (spec for spec in _ordinary(pairwise) if answer(backend, spec) is True)
    return list(itertools.islice(specs, _OWN))


def _ordinary(pairwise: str) -> Iterator[NonLocalSpec]:
    """Specs with every D, scale, eps and so on that implementations often fix."""
    norms = ((False, EPS[0]), *((True, eps) for eps in EPS))
    scales = ["1"] if pairwise == "concatenation" else [s for s in SCALES if s != "other"]
    pairs = (False,) if pairwise != "concatenation" else (False, True)
    for ndim, at, bias, pair in itertools.product((3, 2, 1), (None, *SUBSAMPLE_AT), BIASES, pairs):
        fields: dict[str, Any] = {"ndim": ndim, "bias": bias, "pair_bias": pair}
        fields |= {"subsample": POOLS[ndim], "subsample_at": at} if at else {}
        base = NonLocalSpec(_CHANNELS, pairwise=pairwise, **fields)
        for (batch_norm, eps), normalization in itertools.product(norms, NORMALIZATIONS):
            rules = {"batch_norm": batch_norm, "eps": eps, "normalization": normalization}
            for inner, scale in itertools.product(INNER, scales):
                d = INNER[inner](_CHANNELS, _INNER)
                sizes = {"inner_channels": d, "scale": SCALES[scale](_CHANNELS, d)}
                yield changed(base, rules | sizes)


def rare_questions(backend: Backend, pairwise: str) -> list[NonLocalSpec]:
    """Some specs of a pairwise function that the backend supports, of all that the suite knows."""
    allowed, _ = allowed_templates(backend, lambda spec: spec.pairwise == pairwise)
    found = (
        changed(template.spec(choice, channels, _INNER, _INNER + 3, 3, 2), {})
        for template, choices in allowed.items()
        for choice in itertools.islice(choices.each(), 2)
        for channels in (_CHANNELS, _MORE_CHANNELS)
    )
    return list(itertools.islice(found, 2 * _OWN))


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
