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

#: Sizes at which the scales differ.
CHANNELS, INNER = 16, 8
#: The name, among the dialects, of the spec that the backend was asked for.
ASKED = "what is asked"
#: Scales by their formulas.
SCALES = {"1": 1.0, "D^-1/2": INNER**-0.5, "C^-1/2": CHANNELS**-0.5, "D^1/2": INNER**0.5}
_WINDOWS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((2,),),
    2: ((2, 2),),
    3: ((1, 2, 2), (2, 2, 2), (2, 1, 1)),
}
#: The default of PyTorch and of NumPy implementations, and the default of Keras.
_EPS = (1e-5, 1e-3)
#: The fields that a source leaves to its user.
_CHOICES = ("bias", "pair_bias", "batch_norm", "subsample")


def questions() -> Iterator[list[NonLocalSpec]]:
    """The distinct specs of all dialects, by number of axes and pairwise function."""
    for ndim, pairwise in itertools.product((3, 2, 1), PAIRWISE):
        specs = (dialect_spec(name, pairwise, ndim) for name in DIALECTS)
        yield list(dict.fromkeys(spec for spec in specs if spec is not None))


def dialect_spec(name: str, pairwise: str, ndim: int) -> NonLocalSpec | None:
    """The dialect's spec, or None if it lacks this pairwise function or number of axes."""
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    spec = nlcore.dialect(name, CHANNELS, pairwise, ndim=ndim, inner_channels=INNER)
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
        own = dialect_spec(name, pairwise, spec.ndim)
        if own is None:
            continue
        either = [{getattr(own, choice), getattr(spec, choice)} for choice in _CHOICES]
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
    return [
        candidate for candidate in _all_combinations(spec.ndim) if _has_weights(candidate, spec)
    ]


def _has_weights(candidate: NonLocalSpec, spec: NonLocalSpec) -> bool:
    """Whether the spec has all the weights that the candidate takes."""
    return weight_shapes(candidate).keys() <= weight_shapes(spec).keys()


@cache
def _all_combinations(ndim: int) -> list[NonLocalSpec]:
    """Every combination of the rules with this number of axes."""
    rules = {
        "pairwise": PAIRWISE,
        "normalization": NORMALIZATIONS,
        "scale": tuple(SCALES.values()),
        "subsample": (None, *_WINDOWS[ndim]),
        "subsample_at": SUBSAMPLE_AT,
        "extent": EXTENTS,
        "eps": _EPS,
        **dict.fromkeys(("bias", "pair_bias", "batch_norm"), (False, True)),
    }
    base = NonLocalSpec(CHANNELS, INNER, ndim).arguments()
    found: dict[NonLocalSpec, None] = {}
    for values in itertools.product(*rules.values()):
        with contextlib.suppress(ValueError):  # some rules exclude each other
            found[_plain(**base | dict(zip(rules, values, strict=True)))] = None
    return list(found)
