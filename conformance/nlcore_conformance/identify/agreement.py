"""How a backend's answers agree with each dialect, and with the specs that were asked for."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from functools import cache

import nlcore
from nlcore import DIALECTS, NonLocalSpec
from nlcore.checkpoints.block_origins import ORIGINS
from nlcore.dialects import POOLS
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.asking import dialect_spec
from nlcore_conformance.identify.explanations import fits
from nlcore_conformance.identify.rules import (
    PAIRWISE_FUNCTION,
    RULES,
    Changes,
    Rule,
    changed,
)
from nlcore_conformance.identify.table import groups, listed

#: The name, among the dialects, of the spec that the backend was asked for.
ASKED = "what is asked"
#: What a block may lack that a dialect has, in words.
_PARTS: dict[str, Changes] = {
    "subsampling": {"subsample": None},
    "batch normalization": {"batch_norm": False},
    "the bias in the ReLU": {"pair_bias": False},
    "the bias of W_z": {"bias": "embeddings"},
    "biases": {"bias": False},
}
_BIASES = {"the bias in the ReLU", "the bias of W_z", "biases"}
#: Parts that may be lacking together: the fewest first, and first those without biases.
LACKING: list[tuple[str, ...]] = sorted(
    (parts for n in range(len(_PARTS) + 1) for parts in itertools.combinations(_PARTS, n)),
    key=lambda parts: len(_BIASES & {*parts}),
)


_COMPARED = [rule for rule in RULES if not rule.of_size and rule is not PAIRWISE_FUNCTION]
#: An answer, and the dialect's spec for it.
Scoped = tuple[Answer, NonLocalSpec]


@dataclass(frozen=True)
class Agreement:
    """How answers agree with a dialect, or with `ASKED`.

    Attributes
    ----------
    name : str
        The dialect, or `ASKED`.
    scope : tuple of str
        The pairwise functions that are computed and that it has.
    covers : bool
        Whether it has every pairwise function and number of axes that is computed.
    options : tuple of str
        The options of its source that the block has.
    lacks : tuple of str or None
        The parts of the dialect that the block lacks. None if the block does not compute the
        dialect without any of its parts either.
    never, against : dict
        Rule -> answers that have another value than the dialect. In `never` no answer has it. In
        `against` are also the answers that have the value asked for, where the sources do not leave
        the rule to their users.
    """

    name: str
    scope: tuple[str, ...] = ()
    covers: bool = True
    options: tuple[str, ...] = ()
    lacks: tuple[str, ...] | None = ()
    never: dict[Rule, list[Answer]] = field(default_factory=dict)
    against: dict[Rule, list[Answer]] = field(default_factory=dict)

    @property
    def computed(self) -> bool:
        """Whether the block computes the dialect, but for parts that it lacks."""
        return self.lacks is not None and not self.never

    @property
    def whole(self) -> bool:
        """Whether the block computes the dialect as its source has it by default."""
        return self.computed and not self.lacks and not self.options

    @property
    def rules(self) -> dict[Rule, list[Answer]]:
        """The rules that differ, and the answers that do."""
        return self.never | self.against

    @property
    def parts(self) -> str:
        """ "with batch normalization, without biases": what differs from the source's default."""
        texts = [f"with {listed(self.options)}"] if self.options else []
        texts += [f"without {listed(self.lacks)}"] if self.lacks else []
        return ", ".join(texts)

    @property
    def far(self) -> tuple[int, ...]:
        """How far the answers are: rules that differ, biases that are lacking, parts that are."""
        lacks = self.lacks or ()
        differ = len(self.rules) + (self.lacks is None and not self.rules)
        parts = len(lacks) + len(self.options)
        return differ, len(_BIASES & {*lacks}), parts, int(self.name != ASKED)


@cache
def lessen(spec: NonLocalSpec, lacking: tuple[str, ...]) -> NonLocalSpec:
    """The spec without these parts. Other fields stay, with a meaning or without."""
    fields = spec.arguments()
    for part in lacking:
        if spec.bias or "bias" not in _PARTS[part]:
            fields |= _PARTS[part]
    return NonLocalSpec(**fields)


def agreement(name: str, answers: list[Answer]) -> Agreement:
    """How answers that a spec explains agree with a dialect, or with `ASKED`."""
    if name == ASKED:
        wrong = {rule: [a for a in answers if not a.heeds(rule)] for rule in RULES}
        return Agreement(name, against={rule: of for rule, of in wrong.items() if of})
    every = [_with(name, options, answers) for options in _options(name)]
    return next((found for found in every if found.lacks is not None), every[0])


def _options(name: str) -> list[tuple[str, ...]]:
    """What the dialect's source has as an option and not by default: none, one or all of it."""
    options = ["batch normalization"] if not DIALECTS[name].fields.get("batch_norm", True) else []
    options += ["subsampling"] if _pools(name) and not DIALECTS[name].pools else []
    return [part for n in range(len(options) + 1) for part in itertools.combinations(options, n)]


def _with(name: str, options: tuple[str, ...], answers: list[Answer]) -> Agreement:
    """How answers agree with a dialect and some of its options."""
    scope = [(a, spec) for a in answers if (spec := _own(name, a, options))]
    by_pairwise = groups(scope, lambda pair: pair[1].pairwise)
    each = [_distinct(of) for of in by_pairwise.values()]
    lacks = next((less for less in LACKING if all(_any(of, less) for of in each)), None)
    if not scope:
        lacks = None
    never: dict[Rule, list[Answer]] = {}
    against: dict[Rule, list[Answer]] = {}
    for rule, of in itertools.product(_COMPARED, each):
        known = [(a, lessen(spec, lacks or ())) for a, spec in of if rule.name in a.could]
        wrong = [a for a, spec in known if not a.may_be(rule, _values(name, rule, spec))]
        if wrong and len(wrong) == len(known):
            never[rule] = never.get(rule, []) + wrong
        if hard := [a for a in wrong if not (rule.choice and _as_asked(rule, a))]:
            against[rule] = against.get(rule, []) + hard
    covers = len(scope) == len(answers)
    return Agreement(name, tuple(by_pairwise), covers, options, lacks, never, against)


def _own(name: str, answer: Answer, options: tuple[str, ...]) -> NonLocalSpec | None:
    """The dialect's spec of the answer's sizes, and of the pairwise function that it computes."""
    return dialect_spec(name, answer.spec.pairwise, answer.spec.ndim, answer.spec, options)


def _distinct(of: list[Scoped]) -> list[Scoped]:
    """The answers that distinguish the scales, if there are any: at D = 1, D^-1/2 is 1."""
    return [(a, spec) for a, spec in of if len(a.could.get("scale", ())) < 2] or of


def _values(name: str, rule: Rule, spec: NonLocalSpec) -> tuple[str, ...]:
    """The rule's values in the dialect. One that never pools has no order of pooling."""
    return () if rule.field == "subsample_at" and not _pools(name) else rule.values(spec)


@cache
def _pools(name: str) -> bool:
    """Whether a dialect's source pools, by default or as an option."""
    if DIALECTS[name].pools or name not in ORIGINS:
        return DIALECTS[name].pools
    spec = nlcore.dialect(name, 16)
    pooled = dataclasses.replace(spec, subsample=POOLS[spec.ndim])
    return all(need.holds for need in ORIGINS[name].limits(pooled))


def _any(of: list[Scoped], lacking: tuple[str, ...]) -> bool:
    """Whether an answer is the dialect's without these parts."""
    return any(
        all(a.may_be(rule, rule.read(lessen(spec, lacking))) for rule in RULES) for a, spec in of
    )


def _as_asked(rule: Rule, answer: Answer) -> bool:
    return bool(rule.read(answer.asked)) and answer.heeds(rule)


def text(found: Agreement) -> str:
    """The agreement with a dialect in words: "yes", what the block lacks, or what differs."""
    known = DIALECTS[found.name]
    if found.computed:
        return found.parts or "yes"
    if found.never:
        has = {rule: _own_values(found, rule, of) for rule, of in found.never.items()}
        return f"no: it has {listed(words(has))}"
    if found.scope:
        return "no: its rules are not answered together"
    axes = listed([str(n) for n in known.ndims], "or")
    return f"no: it has only {listed(known.pairwise)}, with ndim {axes}"


def words(values: dict[Rule, str]) -> list[str]:
    """Values of rules in words: "scale D^-1/2", "no subsampling"."""
    found: dict[str, None] = {}
    biases = [value for rule, value in values.items() if rule.field == "bias"]
    both = len(biases) == 2 and biases[0] == biases[1]
    for rule, value in values.items():
        name = "biases" if both and rule.field == "bias" else rule.name
        yes, space, where = value.partition(" for ")
        said = {"yes": name, "no": f"no {name}"}.get(yes, f"{name} {yes}")
        found[f"{said}{space}{where}"] = None
    return list(found)


def _own_values(found: Agreement, rule: Rule, answers: list[Answer]) -> str:
    """The dialect's value of a rule, and for which of the pairwise functions computed."""
    where: dict[str, list[str]] = {}
    for pairwise in found.scope:
        if any(a.spec.pairwise == pairwise for a in answers):
            spec = dialect_spec(found.name, pairwise, DIALECTS[found.name].ndims[0])
            assert spec is not None
            where.setdefault(rule.values(spec)[0], []).append(pairwise)
    return " and ".join(
        value if len(of) == len(found.scope) else f"{value} for {listed(of)}"
        for value, of in where.items()
    )


def form(found: Agreement, answer: Answer) -> NonLocalSpec:
    """The spec for which the answer would be right: that asked for, or the dialect's.

    Rules that the sources leave to their users are as computed, but for those that differ.
    """
    if found.name == ASKED or answer.computed is None:
        return answer.asked
    own = _own(found.name, answer, found.options)
    if own is None:
        return answer.asked
    computed = answer.computed.arguments()
    choices = [rule for rule in RULES if rule.choice]
    for kept in ([rule.field for rule in found.rules], []):
        fields = {r.field: computed[r.field] for r in choices if r.field not in kept}
        if fits(spec := changed(own, fields), answer.asked):
            return spec
    return answer.asked
