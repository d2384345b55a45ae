"""The specs that a backend supports, by its own `supports` or by calls of `block`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.protocol import Backend, dtypes, one_line, supports
from nlcore_conformance.problems.templates import (
    Allowed,
    Choice,
    Choices,
    Template,
    templates,
)


@dataclass
class Answers:
    """What a backend said about the templates.

    Attributes
    ----------
    allowed : dict
        The templates that it supports, with its choices.
    refused : dict of Template to str
        The others, with the reason of each.
    """

    allowed: Allowed = field(default_factory=dict)
    refused: dict[Template, str] = field(default_factory=dict)


def allowed_templates(
    backend: Backend, applies: Callable[[NonLocalSpec], bool]
) -> tuple[Allowed, str]:
    """The templates that the backend supports and whose specs `applies` accepts, or why none."""
    answers = _answers(_Same(backend))
    asked = [t for t in _every() if applies(_probe(t, next(iter(t.choices.each()))))]
    allowed = {t: answers.allowed[t] for t in asked if t in answers.allowed}
    if allowed or not asked:
        return allowed, "no spec is like that"
    # the reason that is about the least: of the template that is most like a supported one
    nearest = max(asked, key=lambda t: max((_alike(t, a) for a in answers.allowed), default=0))
    return {}, answers.refused[nearest]


def example(backend: Backend) -> list[NonLocalSpec]:
    """A supported spec of each template that the backend supports."""
    allowed = _answers(_Same(backend)).allowed
    return [_probe(t, next(iter(choices.each()))) for t, choices in allowed.items()]


def answer(backend: Backend, spec: NonLocalSpec) -> bool | str:
    """Whether the backend supports the spec: True, or the reason why not.

    The `supports` of a backend from before version 1.2 of the specification does not know what is
    new in it. So `block` is called too, once for each pairwise function and for what is new.
    """
    if not hasattr(backend, "supports"):
        return _tried(backend, spec, dtypes(backend)[0])
    said = [supports(backend, spec, dtype) for dtype in dtypes(backend)]
    if True not in said:
        return said[0]
    if not _is_new(spec):
        return True
    tries, more = _tries(_Same(backend)), spec.value_channels - spec.inner_channels
    rules = spec.pairwise, spec.bias == "embeddings", more > 0, more < 0
    if rules not in tries:
        tries[rules] = _tried(backend, spec, dtypes(backend)[said.index(True)])
    return tries[rules]


class _Same:
    """A backend as a key of a cache: compared by identity, whatever its own == and hash."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.backend is other.backend

    def __hash__(self) -> int:
        return id(self.backend)


@lru_cache(maxsize=4)
def _tries(key: _Same) -> dict[tuple, bool | str]:
    """What `_tried` returned for specs of version 1.2, by their rules."""
    return {}


def _is_new(spec: NonLocalSpec) -> bool:
    """Whether the spec has what version 1.2 of the specification added."""
    return spec.bias == "embeddings" or _has_own_v(spec)


def _has_own_v(spec: NonLocalSpec) -> bool:
    """Whether V is not D."""
    return spec.value_channels != spec.inner_channels


@cache
def _every() -> tuple[Template, ...]:
    return tuple(t for pairwise in PAIRWISE for t in templates(pairwise))


@lru_cache(maxsize=2**16)
def _probe(template: Template, choice: Choice) -> NonLocalSpec:
    """The template's spec of ordinary sizes, which the backend is asked about."""
    return template.spec(choice, 64, 24, 40, 2, 3)


@lru_cache(maxsize=1)  # all checks need the same answers
def _answers(key: _Same) -> Answers:
    """What the backend says about every template.

    A template is supported if one of its choices is. Choices that were accepted for another
    template are asked about first. The backend's other choices are asked about one by one, for the
    first template of each pairwise function and normalization.
    """
    backend, found = key.backend, Answers()
    accepted: dict[Choice, None] = {}
    known: dict[tuple, Choices] = {}
    for template in _every():
        reason = ""
        fields = dict(template.fields)
        rules = fields["pairwise"], fields["normalization"], fields["batch_norm"]
        for choice in _in_order(template, accepted):
            said = answer(backend, _probe(template, choice))
            if said is True:
                accepted[choice] = None
                if rules not in known:
                    known[rules] = _choices(backend, template, choice)
                found.allowed[template] = _including(known[rules], choice)
                break
            reason = reason or str(said)
        else:
            found.refused[template] = reason
    return found


def _in_order(template: Template, accepted: Iterable[Choice]) -> Iterable[Choice]:
    """The template's choices, those that were accepted first. A rule for V is then settled."""
    rules = {choice.value for choice in accepted}
    own = dict.fromkeys(c for c in template.choices.each() if not rules or c.value in rules)
    return list(dict.fromkeys([*(c for c in accepted if c in own), *own]))


def _choices(backend: Backend, template: Template, choice: Choice) -> Choices:
    """The choices that the backend takes, each changed alone from one that it takes."""

    def taken(name: str, values: Iterable) -> tuple:
        changed = ((v, replace(choice, **{name: v})) for v in values)
        return tuple(
            v for v, c in changed if c == choice or answer(backend, _probe(template, c)) is True
        )

    every = template.choices
    inners = taken("inner", every.inners)

    def takes(value: str) -> bool:
        """Whether it takes the rule for V, where V is not D."""
        asked = (_probe(template, replace(choice, inner=i, value=value)) for i in inners)
        return any(_has_own_v(spec) and answer(backend, spec) is True for spec in asked)

    usual, *others = every.values
    values = taken("value", (usual,)) + tuple(v for v in others if takes(v) or v == choice.value)
    return Choices(taken("scale", every.scales), inners, values, taken("eps", every.eps))


def _including(choices: Choices, choice: Choice) -> Choices:
    """The choices and this one."""
    both = (
        tuple(dict.fromkeys((*values, value)))
        for values, value in (
            (choices.scales, choice.scale),
            (choices.inners, choice.inner),
            (choices.values, choice.value),
            (choices.eps, choice.eps),
        )
    )
    return Choices(*both)


def _alike(one: Template, other: Template) -> int:
    """How many rules are the same."""
    same = sum(a == b for a, b in zip(one.fields, other.fields, strict=True))
    return same + (one.pool == other.pool)


def _tried(backend: Backend, spec: NonLocalSpec, dtype: str) -> bool | str:
    """Whether `block` supports the spec: True, or why not.

    Other errors than NotImplementedError are left to the checks. But a block from before version
    1.2 cannot refuse what it does not know, so that any error refuses what is new in it.
    """
    weights, x = _small(spec, dtype)
    try:
        backend.block(spec, weights, x)
    except NotImplementedError as error:
        return str(error) or "block raised NotImplementedError"
    except Exception as error:  # whatever someone's block may raise
        return one_line(error) if _is_new(spec) else True
    return True


def _small(spec: NonLocalSpec, dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights, and an x whose pooled sizes are 2."""
    rng = np.random.default_rng(0)
    weights = {n: rng.random(s, np.float32).astype(dtype) for n, s in weight_shapes(spec).items()}
    x = np.ones((1, spec.channels, *np.multiply(spec.pool, 2)), np.float32)
    return weights, x.astype(dtype)
