"""The conclusion from the findings: a sentence, the dialects that it names, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore import DIALECTS, NonLocalSpec
from nlcore_conformance.identify.candidates import ASKED, dialect_spec
from nlcore_conformance.identify.findings import Distance, Finding


@dataclass(frozen=True)
class Conclusion:
    """What a backend computes.

    Attributes
    ----------
    sentence : str
        The conclusion in one sentence.
    follows : bool
        Whether it computes the spec that it is asked for.
    dialects : tuple of str
        The dialects that explain all answers. If it follows the spec, those that it supports.
    nearest : str
        The nearest dialect, if none explains all answers.
    ratio : float
        Error / bound of the worst answer, against the dialect that `sentence` names or the nearest.
    """

    sentence: str
    follows: bool = False
    dialects: tuple[str, ...] = ()
    nearest: str = ""
    ratio: float = 0.0


def conclude(findings: list[Finding]) -> Conclusion:
    """The conclusion from findings about every pairwise function and number of axes."""
    answered = [finding for finding in findings if finding.answered]
    if not answered:
        return Conclusion("answers none of the specs that it is asked")
    if all(f.as_asked for f in answered) and any(f.several for f in answered):
        return _follows(answered)
    right = [name for name in DIALECTS if all(f.explained(name) for f in answered)]
    right = [name for name in right if _may_have(name, _specs(answered))]
    return _dialect(answered, right) if right else _nearest(answered)


def _follows(answered: list[Finding]) -> Conclusion:
    """For a backend that follows the spec: the dialects are those that it supports."""
    exact = {
        name: [name in f.exact for f in answered if dialect_spec(name, f.pairwise, f.ndim)]
        for name in DIALECTS
    }
    whole = tuple(name for name, of in exact.items() if of and all(of))
    partly = [name for name, of in exact.items() if any(of) and not all(of)]
    has = [_and(whole)] if whole else []
    has += [f"parts of {_and(partly)}"] if partly else []
    said = f"it has {', and '.join(has)}" if has else "no dialect is among what it supports"
    return Conclusion(
        f"computes what the spec asks for; {said}",
        follows=True,
        dialects=whole,
        ratio=_worst(answered, ASKED),
    )


def _dialect(answered: list[Finding], right: list[str]) -> Conclusion:
    """For a backend of one dialect, or of several that its answers do not distinguish."""
    names = tuple([n for n in right if any(n in f.exact for f in answered)] or right)
    by = {pairwise for f in answered for pairwise in f.distances[names[0]].pairwise}
    sentence = f"computes dialect {_and(names, 'or')}"
    if len(by) == 1 and len(answered) > 1 and any({f.pairwise} != by for f in answered):
        sentence += f", {next(iter(by))}"  # whatever pairwise function is asked for
    if lacking := _lacking(names[0], _specs(answered)):
        sentence += f", without {_and(lacking)}"
    if not all(f.as_asked for f in answered):
        sentence += ", whatever other rules the spec asks for"
    return Conclusion(sentence, dialects=names, ratio=_worst(answered, names[0]))


def _specs(answered: list[Finding]) -> list[NonLocalSpec]:
    """The specs that were answered."""
    return [a.asked for f in answered for a in f.answers if a.z is not None]


def _may_have(name: str, specs: list[NonLocalSpec]) -> bool:
    """Whether the block may be the dialect's: where that always has biases, so must some spec."""
    return not DIALECTS[name].fields.get("bias") or any(spec.bias for spec in specs)


def _lacking(name: str, specs: list[NonLocalSpec]) -> list[str]:
    """What the dialect has by default, and none of the specs."""
    known = DIALECTS[name]
    lacking = []
    if known.pools and all(spec.subsample is None for spec in specs):
        lacking.append("subsampling")
    if known.fields.get("batch_norm", True) and not any(spec.batch_norm for spec in specs):
        lacking.append("batch normalization")
    return lacking


def _nearest(answered: list[Finding]) -> Conclusion:
    """For a backend of no dialect. The nearest differs in the fewest rules, then by the least."""
    names = [n for n in (ASKED, *DIALECTS) if all(n in f.distances for f in answered)]

    def far(name: str) -> list[float]:
        return [sum(column) for column in zip(*(f.far(name) for f in answered), strict=True)]

    nearest = min(names, key=far)
    ratio = _worst(answered, nearest)
    return Conclusion(
        f"computes no known dialect; the nearest is {_differences(answered, nearest)} "
        f"(error / bound of {nearest} itself: {ratio:.2g})",
        nearest=nearest,
        ratio=ratio,
    )


def _differences(answered: list[Finding], name: str) -> str:
    """The rules in which the answers differ from the dialect, and for which pairwise functions."""
    where: dict[str, dict[str, None]] = {}
    for f in answered:
        if not f.explained(name):
            where.setdefault(_label(name, f.distances[name]), {})[f.pairwise] = None
    everywhere = len(where) == 1 and {f.pairwise for f in answered} == {*next(iter(where.values()))}
    return "; ".join(
        text if everywhere else f"{text} for {_and(list(pairwise))}"
        for text, pairwise in where.items()
    )


def _worst(answered: list[Finding], name: str) -> float:
    """The largest ratio of an answer against the dialect."""
    return max(f.distances[name].ratio for f in answered)


def text(finding: Finding, conclusion: Conclusion) -> str:
    """One finding in words: the dialects that explain it, or the nearest and how far it is."""
    if conclusion.follows:
        return f"{ASKED}: {', '.join(finding.exact)}" if finding.exact else ASKED
    if finding.dialects:
        by = finding.distances[finding.dialects[0]].pairwise
        heeded = by == (finding.pairwise,)
        return ", ".join(finding.dialects) + ("" if heeded else f" ({', '.join(by)})")

    def far(name: str) -> tuple[int, int, bool, float]:
        unexplained, rules, _, ratio = finding.far(name)
        return unexplained, rules, name != conclusion.nearest, ratio

    nearest = min(finding.distances, key=far)
    distance = finding.distances[nearest]
    if distance.changes == ():
        return nearest
    return f"{_label(nearest, distance)} ({nearest}: ratio {distance.ratio:.2g})"


def _label(name: str, distance: Distance) -> str:
    """The dialect's name with the rules that differ."""
    if distance.changes is None:
        return f"{name}, but for something that is no rule"
    return f"{name} with {', '.join(distance.changes)}"


def _and(names: tuple[str, ...] | list[str], word: str = "and") -> str:
    """The names in a sentence: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
