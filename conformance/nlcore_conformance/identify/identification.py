"""Ask a backend for every dialect, and print what it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.identify.answers import Examined
from nlcore_conformance.identify.candidates import own_questions, questions
from nlcore_conformance.identify.conclusion import Conclusion, conclude, text
from nlcore_conformance.identify.findings import Finding, found

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Identification(Conclusion):
    """What a backend computes, and the findings that prove it.

    Attributes
    ----------
    backend : str
        Its name.
    findings : list of Finding
        By pairwise function and number of axes.
    """

    backend: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def identified(self) -> bool:
        """Whether it follows the spec or computes a dialect."""
        return self.follows or bool(self.dialects)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table's rows: pairwise function, axes, specs answered of those asked, and finding."""
        merged: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            if finding.answered:
                merged.setdefault((finding.pairwise, text(finding, self)), []).append(finding)
        return [
            (
                pairwise,
                ", ".join(str(f.ndim) for f in same),
                f"{sum(f.answered for f in same)} of {sum(len(f.answers) for f in same)}",
                computed,
            )
            for (pairwise, computed), same in merged.items()
        ]

    @property
    def unanswered(self) -> dict[str, int]:
        """Why specs were not answered -> how many were not."""
        answers = [a for f in self.findings for a in f.answers if a.z is None]
        return dict(Counter(a.why for a in answers).most_common())


def identify(
    backend: Backend, progress: Progress = lambda name, done, total: None
) -> Identification:
    """Ask the backend for every dialect, and conclude which it computes.

    `progress` is called with a description, how many specs are answered, and how many there are.

    Raises
    ------
    CannotRun
        The backend's own `supports` raises.
    """
    groups = list(questions())
    total = sum(map(len, groups))
    examined = Examined(backend)
    findings, done = [], 0
    for specs in groups:
        answers = []
        for spec in specs:
            answers.append(examined.answer(spec))
            done += 1
            progress(f"{spec.pairwise}, ndim {spec.ndim}", done, total)
        if all(answer.z is None for answer in answers):
            own = own_questions(backend, specs[0].pairwise, specs[0].ndim)
            answers += map(examined.answer, own)
        findings.append(found(examined, tuple(answers)))
    return Identification(**vars(conclude(findings)), backend=backend.name, findings=findings)


def show(identification: Identification, console: Console) -> None:
    """Print the sentence, the table of findings, and why specs were not answered."""
    sentence = f"{identification.backend} {identification.sentence}"
    console.print(sentence, style="bold", soft_wrap=True, markup=False)
    table = Table("asked for", "ndim", "answered", "computes")
    for row in identification.rows:
        table.add_row(*row)
    if table.row_count:
        console.print(table)
    for why, count in identification.unanswered.items():
        console.print(f"{count} specs not answered: {why}", soft_wrap=True, markup=False)
