"""The conclusion from the answers: the simplest sentence that explains all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nlcore import DIALECTS
from nlcore_conformance.identify.agreement import ASKED, Agreement, agreement, words
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.rules import PAIRWISE_FUNCTION, RULES, Rule
from nlcore_conformance.identify.table import by_kind, listed, merged


@dataclass(frozen=True)
class Conclusion:
    """What a backend computes.

    Attributes
    ----------
    sentence : str
        The conclusion in one sentence.
    follows : bool
        Whether all its answers are right for the spec asked for, and it was asked for several.
    dialects : tuple of str
        The dialects that it computes, perhaps with options of theirs, but for the parts that it
        lacks.
    lacks : tuple of str
        The parts of these dialects that it lacks, such as "biases".
    nearest : Agreement or None
        With the nearest dialect, or `ASKED`, if it neither follows the spec nor computes a dialect.
    agreements : list of Agreement
        How its answers agree with each dialect.
    """

    sentence: str
    follows: bool = False
    dialects: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    nearest: Agreement | None = None
    agreements: list[Agreement] = field(default_factory=list)

    @property
    def identified(self) -> bool:
        """Whether it follows the spec or computes a dialect."""
        return self.follows or bool(self.dialects)


def conclude(answers: list[Answer]) -> Conclusion:
    """The conclusion from all answers."""
    given = [answer for answer in answers if answer.z is not None]
    explained = [answer for answer in given if answer.computed is not None]
    if not given:
        return Conclusion("answers none of the specs that it is asked")
    asked, *every = (agreement(name, explained) for name in (ASKED, *DIALECTS))
    if not explained:
        return Conclusion("computes something that no rules explain", nearest=asked)
    varied = not asked.against and _varied(explained)
    covering = [a for a in every if a.covers]
    exact = [a for a in covering if a.far[:3] == (0, 0, 0)]
    best = exact[0] if exact else asked
    if not exact and not varied:
        best = min([*covering, *([asked] if asked.against else [])], key=lambda a: a.far)
    if best is asked and varied:
        found = _follows(explained, every)
    elif best is not asked and best.computed and not best.against:
        found = _dialect(explained, best, asked, covering)
    else:
        said = f"computes no known dialect, but {_label(explained, best)}"
        found = Conclusion(said, nearest=best)
    found = replace(found, follows=varied, agreements=every)
    if why := _irregular(given):
        said = found.sentence.partition(";")[0] + why
        return Conclusion(said, nearest=best, agreements=every)
    return found


def _varied(answers: list[Answer]) -> bool:
    """Whether specs that differ in their rules were answered, each as asked."""
    return any(
        value.followed
        for rule in RULES
        if not rule.of_size and rule is not PAIRWISE_FUNCTION
        for value in by_kind(rule, [a for a in answers if rule.name in a.could]).values()
    )


def _irregular(given: list[Answer]) -> str:
    """What has to be added where rules explain some of the answers only."""
    explained = [answer for answer in given if answer.computed is not None]
    if len(explained) < len(given):
        return f", in {len(explained)} of {len(given)} answers; no rules explain the others"
    if any(answer.irregular for answer in explained):
        return ", where its pooling windows are filled; elsewhere no rules explain its answers"
    return ""


def _follows(answers: list[Answer], every: list[Agreement]) -> Conclusion:
    """For a backend that follows the spec: the dialects are those among what it supports."""
    whole = tuple(a.name for a in every if a.whole)
    parts = {
        "subsampling": any(a.spec.subsample for a in answers),
        "biases": any(a.spec.bias for a in answers),
        "batch normalization": any(a.spec.batch_norm for a in answers),
    }
    lacking = [part for part, has in parts.items() if not has]
    said = "computes what the spec asks for"
    if whole:
        said += f"; it has {listed(whole)}"
    elif lacking:
        said += f", without {listed(lacking)}"
    return Conclusion(said, dialects=whole)


def _dialect(
    answers: list[Answer], best: Agreement, asked: Agreement, covering: list[Agreement]
) -> Conclusion:
    """For a backend of one dialect, or of several that its answers do not distinguish."""
    same = [a for a in covering if a.computed and (a.parts, a.far) == (best.parts, best.far)]
    names = tuple(a.name for a in same)
    said = f"computes dialect {listed(names, 'or')}"
    by = {a.spec.pairwise for a in answers}
    if len(by) == 1 and any(a.asked.pairwise not in by for a in answers):
        said += f", {next(iter(by))}"  # whatever pairwise function is asked for
    if best.parts:
        said += f", {best.parts}"
    if asked.against:
        said += ", whatever other rules the spec asks for"
    return Conclusion(said, dialects=names, lacks=best.lacks or ())


def _label(answers: list[Answer], best: Agreement) -> str:
    """The dialect's name with the rules that differ."""
    differs = words({rule: _computed(rule, of, answers) for rule, of in best.rules.items()})
    text = best.name + (f" with {listed(differs)}" if differs else "")
    return text + (f", {best.parts}" if best.parts else "")


def _computed(rule: Rule, wrong: list[Answer], answers: list[Answer]) -> str:
    """The value that is computed, and for which pairwise functions."""
    where = {answer.asked.pairwise for answer in wrong}
    known = [a for a in answers if a.asked.pairwise in where and rule.name in a.could]
    found = by_kind(rule, known)
    text = merged({label: replace(v, only=False, followed=()) for label, v in found.items()})
    everywhere = len(where) == len({a.asked.pairwise for a in answers})
    return text if everywhere or " for " in text else f"{text} for {listed(sorted(where))}"
