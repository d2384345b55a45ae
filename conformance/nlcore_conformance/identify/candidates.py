"""The specs that a backend is asked for, and those that may explain its answers.

It is asked for every spec that `nlcore.DIALECTS` makes. An answer is compared with each dialect.
The choices that a source leaves to its user (biases, batch normalization, subsampling) are tried
both as asked and as the dialect has them. An answer that no dialect explains is compared with every
combination of the rules.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import nlcore
from nlcore import DIALECTS, NonLocalSpec, weight_shapes
from nlcore.spec import EXTENTS, NORMALIZATIONS, PAIRWISE, SUBSAMPLE_AT
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.run.probing import allowed_templates

#: Sizes at which the scales differ.
CHANNELS, INNER = 16, 8
#: How many specs are asked of a backend that supports no dialect's own.
OWN = 16
#: The name, among the dialects, of the spec that the backend was asked for.
ASKED = "what is asked"
_WINDOWS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((2,),),
    2: ((2, 2),),
    3: ((1, 2, 2), (2, 2, 2), (2, 1, 1)),
}
#: The default of PyTorch and of NumPy implementations, and the default of Keras.
_EPS = (1e-5, 1e-3)
#: The fields that a source leaves to its user.
_CHOICES = ("bias", "pair_bias", "batch_norm", "subsample")


def scales(inner: int) -> dict[str, float]:
    """Scales by their formulas."""
    return {"1": 1.0, "D^-1/2": inner**-0.5, "C^-1/2": CHANNELS**-0.5, "D^1/2": inner**0.5}


def questions() -> Iterator[list[NonLocalSpec]]:
    """The distinct specs of all dialects, by number of axes and pairwise function."""
    for ndim, pairwise in itertools.product((3, 2, 1), PAIRWISE):
        specs = (dialect_spec(name, pairwise, ndim) for name in DIALECTS)
        yield list(dict.fromkeys(spec for spec in specs if spec is not None))


def own_questions(backend: Backend, pairwise: str, ndim: int) -> list[NonLocalSpec]:
    """Specs that the backend supports, for one that supports no dialect's own."""

    def applies(spec: NonLocalSpec) -> bool:
        return (spec.pairwise, spec.ndim) == (pairwise, ndim)

    allowed, _ = allowed_templates(backend, applies)
    found = (
        template.spec(choice, CHANNELS, INNER, INNER + 3, 1, 2)
        for template, choices in allowed.items()
        for choice in choices.each()
        if choice.scale != "other" and choice.value == choices.values[0]
    )
    return list(dict.fromkeys(_plain(**spec.arguments()) for spec in found))[:OWN]


def dialect_spec(
    name: str, pairwise: str, ndim: int, inner: int = INNER, value: int | None = None
) -> NonLocalSpec | None:
    """The dialect's spec, or None if it lacks this pairwise function or number of axes."""
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    widths = {"inner_channels": inner, "value_channels": value}
    spec = nlcore.dialect(name, CHANNELS, pairwise, ndim=ndim, **widths)
    return _plain(**spec.arguments())


def _plain(**fields: Any) -> NonLocalSpec:
    """The spec with these fields; a field without meaning gets its default."""
    if not fields["subsample"]:
        fields["subsample_at"] = "embedding"
    if not fields["batch_norm"]:
        fields["eps"] = _EPS[0]
    return NonLocalSpec(**fields)


@cache
def forms(name: str, spec: NonLocalSpec) -> list[NonLocalSpec]:
    """The dialect's specs that use the spec's weights, with each choice as in the spec or its own.

    Its other pairwise functions are among them, since a backend may ignore the one asked for.
    """
    if name == ASKED:
        return [spec]
    found = []
    for pairwise in PAIRWISE:
        own = dialect_spec(name, pairwise, spec.ndim, spec.inner_channels, spec.value_channels)
        if own is None:
            continue
        either = [dict.fromkeys((getattr(own, c), getattr(spec, c))) for c in _CHOICES]
        for chosen in itertools.product(*either):
            fields = dict(zip(_CHOICES, chosen, strict=True))
            if pairwise == "concatenation" or not fields["pair_bias"]:
                found.append(_plain(**own.arguments() | fields))
    return [form for form in dict.fromkeys(found) if _has_weights(form, spec)]


@cache
def dialects(spec: NonLocalSpec) -> list[NonLocalSpec]:
    """The forms of all dialects."""
    every = (forms(name, spec) for name in DIALECTS)
    return list(dict.fromkeys(itertools.chain.from_iterable(every)))


@cache
def combinations(spec: NonLocalSpec) -> list[NonLocalSpec]:
    """Every combination of the rules that takes the spec's weights, or some of them."""
    sizes = spec.inner_channels, spec.value_channels
    every = _all_combinations(spec.ndim, *sizes, spec.eps, spec.bias or True)
    return [candidate for candidate in every if _has_weights(candidate, spec)]


def _has_weights(candidate: NonLocalSpec, spec: NonLocalSpec) -> bool:
    """Whether the spec has all the weights that the candidate takes.

    If both have biases, they have the same ones: out.bias is 0 in every problem, so that no answer
    tells biases of the embeddings alone from those of W_z too.
    """
    taken = weight_shapes(candidate).keys() <= weight_shapes(spec).keys()
    return taken and candidate.bias in (False, spec.bias)


@cache
def _all_combinations(
    ndim: int, inner: int, value: int, eps: float, bias: bool | str
) -> list[NonLocalSpec]:
    """Every combination of the rules with this number of axes and these sizes."""
    rules = {
        "pairwise": PAIRWISE,
        "normalization": NORMALIZATIONS,
        "scale": tuple(scales(inner).values()),
        "subsample": (None, *_WINDOWS[ndim]),
        "subsample_at": SUBSAMPLE_AT,
        "extent": EXTENTS,
        "eps": tuple(dict.fromkeys((*_EPS, eps))),
        "bias": (False, bias),
        **dict.fromkeys(("pair_bias", "batch_norm"), (False, True)),
    }
    base = NonLocalSpec(CHANNELS, inner, ndim, value_channels=value).arguments()
    found: dict[NonLocalSpec, None] = {}
    for values in itertools.product(*rules.values()):
        with contextlib.suppress(ValueError):  # some rules exclude each other
            found[_plain(**base | dict(zip(rules, values, strict=True)))] = None
    return list(found)
