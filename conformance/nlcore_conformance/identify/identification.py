"""Ask a backend for every dialect, and print what it computes."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlcore import DIALECTS, NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.identify.agreement import LACKING, form, lessen, text
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.asking import (
    dialect_spec,
    own_questions,
    questions,
    rare_questions,
    seeds,
)
from nlcore_conformance.identify.conclusion import Conclusion, conclude
from nlcore_conformance.identify.explanations import Examined
from nlcore_conformance.identify.mistakes import mistakes
from nlcore_conformance.identify.rules import RULES, changed
from nlcore_conformance.identify.table import Found, table

Progress = Callable[[str, int, int], None]
#: A description, and specs with the rule that each is about, or "".
Questions = tuple[str, list[tuple[NonLocalSpec, str]]]
#: What may help if there is no explanation.
MORE = (
    "`nlcore-conformance run` also tries two known mistakes at once, and shows the first stage "
    "that differs. For it, let the backend refuse by `supports` what the implementation lacks."
)
#: How many characters of a reason the table shows. All of it follows the tables.
_WHY = 120
#: The rules that answered specs are changed in. D is the first: at some D scales are the same.
_STEPS = (
    [rule for rule in RULES if rule.field == "inner_channels"],
    [rule for rule in RULES if rule.field not in ("inner_channels", "pairwise")],
)


@dataclass(frozen=True)
class Identification(Conclusion):
    """What a backend computes, and the answers that prove it.

    Attributes
    ----------
    ratio : float
        Error / bound of the worst answer, against what was found or `nearest`.
    backend : str
        Its name.
    rules : dict of str to Found
        What was found about each rule.
    answers : list of Answer
        Its answers.
    mistakes : list of str
        What it computes in answers that no rules explain, by a known mistake.
    explained : bool
        Whether each answer is explained, by rules or by a known mistake.
    """

    ratio: float = 0.0
    backend: str = ""
    rules: dict[str, Found] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    explained: bool = True

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """By pairwise function: axes, specs answered of those asked, and what it computes."""
        rows = []
        for pairwise in PAIRWISE:
            of = [a for a in self.answers if a.asked.pairwise == pairwise]
            given = [a for a in of if a.z is not None]
            if given:
                axes = ", ".join(str(n) for n in (3, 2, 1) if any(a.asked.ndim == n for a in given))
                computed = conclude(of).sentence.removeprefix("computes ")
                rows.append((pairwise, axes, f"{len(given)} of {len(of)}", computed))
        return rows

    @property
    def unanswered(self) -> dict[str, int]:
        """Why specs were not answered -> how many were not."""
        return dict(Counter(a.why for a in self.answers if a.z is None).most_common())


def identify(
    backend: Backend, progress: Progress = lambda name, done, total: None
) -> Identification:
    """Ask the backend for every dialect and for each rule, and conclude what it computes.

    `progress` is called with a description, how many specs are answered, and how many there are.

    Raises
    ------
    CannotRun
        The backend's own `supports` raises.
    """
    examined = Examined(backend)
    done = total = 0
    for name, specs in _questions(examined):
        total += len(specs)
        for spec, rule in specs:
            examined.ask(spec, rule)
            done += 1
            progress(name, done, total)
    answers = list(examined.answers.values())
    found = conclude(answers)
    rules = table(backend, answers) if any(a.z is not None for a in answers) else {}
    ratio = _ratio(found, answers)
    if found.nearest is not None:
        far = f"{found.sentence} (error / bound of {found.nearest.name} itself: {ratio:.2g})"
        found = replace(found, sentence=far)
    made, explained = mistakes(answers)
    return Identification(
        **vars(found),
        ratio=ratio,
        backend=backend.name,
        rules=rules,
        answers=answers,
        mistakes=made,
        explained=explained,
    )


def _questions(examined: Examined) -> Iterator[Questions]:
    """What to ask next. It depends on the answers to what was asked before."""

    def of(pairwise: str) -> list[Answer]:
        return [a for a in examined.answers.values() if a.asked.pairwise == pairwise]

    yield "dialects", [(spec, "") for spec in questions()]
    for more in (own_questions, rare_questions):
        answered = [p for p in PAIRWISE if any(answer.z is not None for answer in of(p))]
        if answered and more is rare_questions:
            break
        for pairwise in PAIRWISE:
            if pairwise not in answered and any(answer.refused for answer in of(pairwise)):
                yield pairwise, [(spec, "") for spec in more(examined.backend, pairwise)]
    for pairwise in PAIRWISE:
        for rules in _STEPS:
            chosen = seeds(of(pairwise))
            for seed in chosen:
                known = {name for a in of(pairwise) if a.z is not None for name in a.varied}
                new = [rule for rule in rules if rule.name not in known]
                specs = [(spec, rule.name) for rule in new for spec in rule.varied(seed)]
                yield f"{pairwise}, each rule", specs
        if chosen:
            yield from _lessened(examined, pairwise, chosen[0])


def _lessened(examined: Examined, pairwise: str, seed: NonLocalSpec) -> Iterator[Questions]:
    """For dialects that were not answered: their specs without parts, until one is answered."""
    for name, known in DIALECTS.items():
        ndim = seed.ndim if seed.ndim in known.ndims else known.ndims[0]
        spec = dialect_spec(name, pairwise, ndim, seed)
        for lacking in LACKING if spec else ():
            less = changed(lessen(spec, lacking), {})
            if less not in examined.answers:
                yield f"{pairwise}, {name}", [(less, "")]
            if examined.answers[less].z is not None:
                break


def _ratio(found: Conclusion, answers: list[Answer]) -> float:
    """Error / bound of the worst answer against the dialect that was found, or the nearest."""
    ratios = [0.0]
    for answer in answers:
        if answer.z is not None and found.nearest is not None:
            spec = form(found.nearest, answer)
            own = spec == answer.computed
            ratios.append(answer.ratio if own else answer.trial.ratio(answer.z, spec))
        elif answer.z is not None:
            ratios.append(answer.ratio)
        ratios.append(answer.irregular)
    return max(ratios)


def show(identification: Identification, console: Console) -> None:
    """Print the sentence, the rules, the dialects, and why specs were not answered."""
    found = identification
    console.print(f"{found.backend} {found.sentence}", style="bold", soft_wrap=True, markup=False)
    for mistake in found.mistakes:
        console.print(f"It computes {mistake}", soft_wrap=True, markup=False)
    if not found.explained:
        console.print(MORE, soft_wrap=True, markup=False)
    if found.rules:
        rules = Table("rule", "computed", "why not more")
        for name, value in found.rules.items():
            why = textwrap.shorten(value.why, _WHY, placeholder=" ...")
            rules.add_row(name, value.text, Text(why))
        console.print(rules)
    if found.agreements:
        dialects = Table("dialect", "computed")
        for agreement in found.agreements:
            dialects.add_row(agreement.name, text(agreement))
        console.print(dialects)
    for why, count in found.unanswered.items():
        specs = "spec" if count == 1 else "specs"
        console.print(f"{count} {specs} not answered: {why}", soft_wrap=True, markup=False)
