"""The tables of docs/evidence.md, which `learning.py page` writes between markers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from what_blocks_learn.claims import FOUR, claims_table
from what_blocks_learn.configurations import BY_NAME, CONFIGURATIONS
from what_blocks_learn.intervals import Mean, lowest_rate, mean
from what_blocks_learn.paper_tables import TABLES, PaperTable
from what_blocks_learn.results import OPEN, Result, accuracy, paired, percent

#: Tasks in the order of the page.
SHOWN = ("compare", "move", "flash")
#: With which a seed is better than a coin.
SURE = 0.999


def with_tables(
    page: str, results: Sequence[Result], looks: Sequence[Result], colours: Sequence[Result]
) -> str:
    """The page with new tables between its markers.

    `looks` are the rows of evidence_weights.csv, and `colours` those of evidence_colours.csv.
    """
    tables = {"claims": claims_table(results), "tasks": by_task(results)}
    tables |= {"attended": attended(looks), "colours": by_colours(colours)}
    tables |= {t.name: beside_paper(t, results) for t in TABLES}
    for name, lines in tables.items():
        begin, end = f"<!-- table {name} -->", f"<!-- end {name} -->"
        if not page.count(begin) == page.count(end) == 1:
            raise ValueError(f"the page must have the markers {begin} and {end} once")
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = before + "\n".join([begin, "", *lines, "", end]) + after
    return page


def by_task(results: Sequence[Result]) -> Iterator[str]:
    """A row for each configuration: its cost, and its right films of each task."""
    yield "| network | parameters | multiply-adds | " + " | ".join(SHOWN) + " |"
    yield "| --- | ---: | ---: |" + " ---: |" * len(SHOWN)
    base = BY_NAME["c2d"].size()
    for each in CONFIGURATIONS:
        sizes = [f"{own / of:.2f}" for own, of in zip(each.size(), base, strict=True)]
        cells = [
            percent(accuracy(results, task, each.name)) if task in each.tasks else ""
            for task in SHOWN
        ]
        yield "| " + " | ".join([each.title, *sizes, *cells]) + " |"


def attended(looks: Sequence[Result]) -> Iterator[str]:
    """A row for each network: the mean weights on each digit over seeds, in percent."""
    yield "| network | first digit | before training | second digit | if all are equal |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name in dict.fromkeys(row["configuration"] for row in looks):
        own = [row for row in looks if row["configuration"] == name]
        first, before, second, equal = (
            mean([100 * row[key] for row in own])
            for key in ("first", "before", "second", "by_chance")
        )
        cells = [percent(first), percent(before), percent(second), f"{equal.value:.1f}"]
        yield "| " + " | ".join([BY_NAME[name].title, *cells]) + " |"


def by_colours(rows: Sequence[Result]) -> Iterator[str]:
    """A row for each pair of colours: the percentage of groups, of all seeds, that are right."""
    names = dict.fromkeys(row["configuration"] for row in rows)
    yield "| colours | groups | " + " | ".join(BY_NAME[name].title for name in names) + " |"
    yield "| --- | ---: |" + " ---: |" * len(names)
    for pair in dict.fromkeys(row["colours"] for row in rows):
        sums = []
        for name in names:
            own = [r for r in rows if (r["colours"], r["configuration"]) == (pair, name)]
            count, right = (sum(row[key] for row in own) for key in ("groups", "groups_right"))
            sums.append(f"{100 * right / count:.0f}")
        groups = next(row["groups"] for row in rows if row["colours"] == pair)
        yield f"| {pair} | {groups:.0f} | {' | '.join(sums)} |"


def beside_paper(table: PaperTable, results: Sequence[Result]) -> Iterator[str]:
    """A row for each network of a table of the paper, on the task "compare"."""
    first, *_ = table.rows
    name = BY_NAME[first].title
    head = ("network", "paper", "films right", "groups right", "above a coin")
    yield f"| {' | '.join(head)} | difference to {name} | as in the paper |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for row, paper in table.rows.items():
        difference = None if row == first else paired(results, "compare", row, first)
        cells = [
            BY_NAME[row].title,
            paper,
            percent(accuracy(results, "compare", row)),
            percent(accuracy(results, "compare", row, "groups_right", "groups")),
            better_than_a_coin(results, "compare", row, FOUR / 100),
            "" if row == first else percent(difference, sign=True),
            "" if row == first else verdict(difference, paper, table.rows[first]),
        ]
        yield "| " + " | ".join(cells) + " |"


def better_than_a_coin(results: Sequence[Result], task: str, name: str, chance: float) -> str:
    """How many seeds get more groups right than by chance, by an exact bound."""
    own = [r for r in results if (r["task"], r["configuration"]) == (task, name)]
    found = [lowest_rate(int(r["groups_right"]), int(r["groups"]), SURE) > chance for r in own]
    return f"{sum(found)} of {len(found)}" if found else OPEN


def verdict(difference: Mean | None, paper: str, base: str) -> str:
    """Whether the difference has the sign of the paper's, by its interval."""
    if difference is None or math.isnan(difference.half) or not paper or not base:
        return ""
    if not (difference.above or difference.below):
        return "not decided"
    same = difference.above == (float(paper) > float(base))
    return "yes" if same else "no, the other way"
