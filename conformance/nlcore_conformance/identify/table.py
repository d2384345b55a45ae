"""The table of rules: what a backend's answers have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

import nlcore
from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.protocol import Backend, one_line
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.rules import PAIRWISE_FUNCTION, RULES, Rule

REST, IDENTITY = "positions that fill no window", "identity at construction"
_NOT_ASKED = "not asked"
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Found:
    """What was found about one rule.

    Attributes
    ----------
    text : str
        The value, "as asked" with the values, or "not asked".
    why : str
        Why nothing else was answered, or why nothing is known.
    """

    text: str
    why: str = ""


@dataclass(frozen=True)
class Value:
    """The value of a rule in some answers.

    Attributes
    ----------
    text : str
        The value, or "as asked".
    only : bool
        Whether nothing else was answered.
    followed : tuple of str
        The values that were answered as asked.
    """

    text: str
    only: bool = False
    followed: tuple[str, ...] = ()


def table(backend: Backend, answers: list[Answer]) -> dict[str, Found]:
    """What was found about each rule, by its name."""
    explained = [answer for answer in answers if answer.computed is not None]
    if not explained:
        return {}
    found = {rule.name: _found(rule, explained, answers) for rule in RULES}
    return {**found, REST: _rest(explained), IDENTITY: _identity(backend, explained)}


def _found(rule: Rule, explained: list[Answer], answers: list[Answer]) -> Found:
    """What was found about a rule."""
    known = [answer for answer in explained if rule.name in answer.could]
    if not known:
        meant = any(rule.matters(a.spec) for a in explained)
        return Found(_NOT_ASKED, "no answer depends on it" if meant else rule.without)
    values = by_kind(rule, known)
    refused = Counter(a.why for a in answers if a.z is None and _about(rule, a, known))
    only = any(value.only for value in values.values())
    return Found(merged(values), refused.most_common(1)[0][0] if only and refused else "")


def _about(rule: Rule, refused: Answer, known: list[Answer]) -> bool:
    """Whether a spec that was refused was about another value of the rule."""
    if rule is PAIRWISE_FUNCTION:
        return all(refused.asked.pairwise != answer.asked.pairwise for answer in known)
    return rule.name in refused.varied


def by_kind(rule: Rule, known: list[Answer]) -> dict[str, Value]:
    """The rule's value for each pairwise function asked for.

    Where it has no value in common, also for each number of axes.
    """
    if rule is PAIRWISE_FUNCTION:
        return {"all": _value(rule, known) or _mixed(rule, known)}
    kinds: list[Callable[[Answer], str]] = [
        lambda answer: answer.asked.pairwise,
        lambda answer: f"ndim {answer.asked.ndim}",
        lambda answer: f"{answer.asked.pairwise} with ndim {answer.asked.ndim}",
    ]
    for kind in kinds:
        parts = groups(known, kind)
        values = {label: value for label, of in parts.items() if (value := _value(rule, of))}
        if len(values) == len(parts):
            return values
    return {label: values.get(label) or _mixed(rule, of) for label, of in parts.items()}


def groups(items: list[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their keys."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _value(rule: Rule, answers: list[Answer]) -> Value | None:
    """The rule's value in all answers; None if there is no such value."""
    could = [answer.could[rule.name] for answer in answers]
    asked = [rule.read(answer.asked) for answer in answers]
    follows = all(answer.heeds(rule) for answer in answers)
    if fixed := [value for value in could[0] if all(value in values for values in could)]:
        return Value(" or ".join(fixed), only=follows and any(asked))
    if follows:
        return Value("as asked", followed=tuple(dict.fromkeys(a[0] for a in asked if a)))
    return None


def _mixed(rule: Rule, answers: list[Answer]) -> Value:
    """For answers that have nothing in common: how many are as asked."""
    right = sum(answer.heeds(rule) for answer in answers)
    return Value(f"as asked in {right} of {len(answers)} answers")


def merged(values: dict[str, Value]) -> str:
    """The values in one text, with what they are for where they differ."""
    every = all(value.only for value in values.values())
    where: dict[str, list[str]] = {}
    followed: dict[str, dict[str, None]] = {}
    for label, value in values.items():
        one = value.text + (" (only this was answered)" if value.only and not every else "")
        where.setdefault(one, []).append(label)
        followed.setdefault(one, {}).update(dict.fromkeys(value.followed))
    texts = []
    for one, labels in where.items():
        what = f"{one} ({', '.join(followed[one])})" if followed[one] else one
        texts.append(what if len(where) == 1 else f"{what} for {listed(labels)}")
    text = "; ".join(texts)
    if every:
        text += f" (only {'this was' if len(where) == 1 else 'these were'} answered)"
    return text


def _rest(explained: list[Answer]) -> Found:
    """What happens to positions that fill no window of the pooling."""
    pooled = [answer for answer in explained if answer.spec.subsample]
    if not pooled:
        return Found(_NOT_ASKED, "it does not pool")
    if any(answer.irregular for answer in pooled):
        return Found("something that is no rule", "other answers follow the rules above")
    if any(answer.trial.size == 0 for answer in pooled):
        return Found("dropped")
    return Found(_NOT_ASKED, pooled[0].why)


def _identity(backend: Backend, explained: list[Answer]) -> Found:
    """Whether a newly constructed block returns x."""
    initial = getattr(backend, "initial", None)
    if initial is None:
        return Found(_NOT_ASKED, "the backend has no `initial`")
    specs = {(a.asked.batch_norm, a.asked.pairwise): a.asked for a in explained}
    found: dict[bool, bool] = {}
    why = ""
    for (batch_norm, _), spec in specs.items():
        try:
            returns_x = _returns_x(spec, initial(spec))
        except Exception as error:  # whatever someone's method may raise
            why = f"initial raised {one_line(error)}"
        else:
            found[batch_norm] = found.get(batch_norm, True) and returns_x
    said = {with_: "yes" if same else "no" for with_, same in found.items()}
    if len({*said.values()}) < 2:
        return Found(next(iter(said.values()))) if said else Found(_NOT_ASKED, why)
    return Found(f"{said[True]} with batch normalization, {said[False]} without")


def _returns_x(spec: NonLocalSpec, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether the block with these weights is the identity. A weight that is not there is 0."""
    own = {name: weights.get(name, np.zeros(shape)) for name, shape in weight_shapes(spec).items()}
    x = np.random.default_rng(0).normal(size=(1, spec.channels, *np.multiply(spec.pool, 3)))
    return np.array_equal(nlcore.block(spec, own, x), x)


def listed(names: Iterable[str], word: str = "and") -> str:
    """The names in a sentence: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
