"""Tables that are made when the site is built, one directive each."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from pathlib import Path

import traceability
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger

import nlcore
from nlcore.spec import FLOATS
from nlcore.video import RECIPES
from nlcore.video.recipes.presets import PLACES
from nlcore.video.recipes.summary import GROUPS, NOT_USED, field_text
from nlcore_conformance.backend.variants import honest
from nlcore_conformance.mutants import mutants

#: The verdicts of `nlcore-conformance self-test --json docs/self_test.json`.
SELF_TEST = json.loads((Path(__file__).parent / "self_test.json").read_text(encoding="utf-8"))

#: What is measured beside nlcore, as in benchmarks/page.py.
OTHERS = {
    "mmcv": "mmcv",
    "materialized": "N × M form",
    "attention": "fused attention",
    "einsum": "einsum",
}

logger = getLogger(__name__)


class GeneratedTable(SphinxDirective):
    """A table of `rows()`, the first one being its head."""

    def rows(self) -> list[tuple]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        head, *rows = self.rows()
        lines = [" | ".join(map(str, row)) for row in (head, ("---",) * len(head), *rows)]
        lines = [f"| {line} |" for line in lines]
        table = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, table)
        return table.children


class VectorTable(GeneratedTable):
    """The test vectors, from their manifest."""

    def rows(self) -> list[tuple]:
        rows: list[tuple] = [("name", "what is special", "clauses NL-", "dtypes")]
        for v in traceability.vectors():
            clauses = ", ".join(clause.removeprefix("NL-") for clause in v["clauses"])
            dtypes = "all" if len(v["dtypes"]) == len(FLOATS) else ", ".join(v["dtypes"])
            rows.append((f"`{v['name']}`", v["about"], clauses, dtypes))
        return rows


class MutantTable(GeneratedTable):
    """The shipped mutants and what rejected them, from docs/self_test.json."""

    def rows(self) -> list[tuple]:
        judged = {row["name"]: row for row in SELF_TEST["rows"]}
        rows: list[tuple] = [("mutant", "what is wrong", "clause", "rejected by", "ratio")]
        for mutant in mutants():
            rule = re.sub(r"([*|\\])", r"\\\1", mutant.mistake)
            row = judged[mutant.name]
            found = row["check"], f"{float(row['ratio']):.3g}"
            rows.append((mutant.name.replace("|", r"\|"), rule, mutant.clause, *found))
        return rows


class AcceptedTable(GeneratedTable):
    """The right implementations that the self-test judges, from docs/self_test.json."""

    def rows(self) -> list[tuple]:
        judged = {row["name"]: row for row in SELF_TEST["rows"]}
        rows: list[tuple] = [("implementation", "how it differs", "verdict", "largest ratio")]
        for right in honest():
            row = judged[right.name]
            ratio = f"{float(row['ratio']):.3g}"
            rows.append((right.name, right.difference, row["verdict"], ratio))
        return rows


class TraceTable(GeneratedTable):
    """What enforces each clause, from `traceability`; a hole in it is a warning."""

    def rows(self) -> list[tuple]:
        traced = traceability.traced()
        for hole in traceability.holes(traced):
            logger.warning(hole, location=self.get_location())
        rows: list[tuple] = [("clause", "checks", "mutants", "vectors", "tests")]
        for row in traced:
            tests = ", ".join(f"`{test.split('::')[1]}`" for test in row.tests)
            counts = (len(row.mutants) or "", len(row.vectors) or "")
            rows.append((row.clause, traceability.families(row.checks), *counts, tests))
        return rows


class ClauseTests(GeneratedTable):
    """The tests of a page's clauses: its arguments are the page and the folder of the tests."""

    required_arguments = 2

    def rows(self) -> list[tuple]:
        rows: list[tuple] = [("clause", "tests")]
        for clause, tests in traceability.tests_of(*self.arguments).items():
            names = ", ".join(f"`{test}`" for test in tests)
            rows.append((clause, names))
        return rows


class DialectTable(GeneratedTable):
    """The dialects at C = 1024, one row each: whose blocks, or their "rules" or their "sources"."""

    optional_arguments = 1

    def rows(self) -> list[tuple]:
        if self.arguments == ["sources"]:
            rows = [(f"`{n}`", d.source.replace("*", r"\*")) for n, d in nlcore.DIALECTS.items()]
            return [("name", "read in"), *rows]
        rules = self.arguments == ["rules"]
        fields = ("subsample", "subsample_at", "bias", "pair_bias", "batch_norm")
        rows = [("name", *(fields if rules else ("pairwise", "ndim", "D", "scale")))]
        for name, known in nlcore.DIALECTS.items():
            spec = nlcore.dialect(name, 1024)
            pairwise = "all" if len(known.pairwise) == 4 else ", ".join(known.pairwise)
            values = (pairwise, known.ndims, spec.inner_channels, f"{spec.scale:.4g}")
            if rules:
                pair_bias = known.fields.get("pair_bias", False)
                values = (spec.subsample, spec.subsample_at, spec.bias, pair_bias, spec.batch_norm)
            rows.append((f"`{name}`", *values))
        return rows


class RecipeTable(GeneratedTable):
    """Fields of recipes: those that differ, for the named recipes, or those that are "equal"."""

    optional_arguments = len(RECIPES)

    def rows(self) -> list[tuple]:
        equal = self.arguments == ["equal"]
        names = list(RECIPES)[:1] if equal else self.arguments
        rows: list[tuple] = [("field", *(["value"] if equal else [f"`{n}`" for n in names]))]
        if not equal:
            rows.append(("`network`", *(network_text(RECIPES[name].network) for name in names)))
        for field in (field for group in GROUPS.values() for field in group):
            values = {name: value_or_dash(recipe, field) for name, recipe in RECIPES.items()}
            if field != "network" and (len(set(values.values())) == 1) == equal:
                rows.append((f"`{field}`", *(values[name] for name in names)))
        return rows


def network_text(network) -> str:
    """Depth, inflation and number of blocks."""
    return f"ResNet-{network.depth}, I3D {network.inflation}, {len(network.non_local)} blocks"


def value_or_dash(recipe, field: str) -> str:
    """The value of a field of a recipe, or a dash if the recipe does not use it."""
    unused = recipe.sources[field].startswith(NOT_USED)
    counts = field in ("iterations", "epochs") and getattr(recipe, field) is None
    return "–" if unused or counts else field_text(recipe, field)


class SourceTable(GeneratedTable):
    """The places that the sources of the published recipes name."""

    def rows(self) -> list[tuple]:
        return [("name", "place"), *((name, f"`{place}`") for name, place in PLACES.items())]


class SlowerTable(GeneratedTable):
    """What takes less than 95% of nlcore's time in docs/speed.csv."""

    def rows(self) -> list[tuple]:
        head = ("engine", "size", "subsample", "pairwise", "direction", "other")
        rows: list[tuple] = [(*head, "its time / nlcore's")]
        for task, seconds in block_times().items():
            for name, label in OTHERS.items():
                if name in seconds and seconds[name] < 0.95 * seconds["nlcore"]:
                    rows.append((*task, label, f"{seconds[name] / seconds['nlcore']:.2f}"))
        return rows


class PossibleTable(GeneratedTable):
    """For 16 x 28 x 28 in docs/speed.csv: the times of the fastest other over two times.

    "possible" divides it by the time of the bare matrix products, and "gained" by nlcore's.
    """

    def rows(self) -> list[tuple]:
        rows: list[tuple] = [("engine", "pairwise", "direction", "other", "possible", "gained")]
        for task, seconds in block_times().items():
            engine, size, subsample, *kind = task
            others = {name: seconds[name] for name in OTHERS if name in seconds}
            if (size, subsample) == ("res3, 128 frames", "1x2x2") and "products" in seconds:
                name = min(others, key=lambda other: others[other])
                ratios = (others[name] / seconds[of] for of in ("products", "nlcore"))
                rows.append((engine, *kind, OTHERS[name], *(f"{ratio:.2f}" for ratio in ratios)))
        return rows


def block_times() -> dict[tuple[str, ...], dict[str, float]]:
    """Engine, size, subsample, pairwise and direction -> implementation -> seconds."""
    times: dict[tuple[str, ...], dict[str, float]] = {}
    with (Path(__file__).parent / "speed.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            task = engine_name(row["engine"]), row["size"], row["subsample"] or "none"
            kind = row["pairwise"].replace("_", " "), row["direction"]
            times.setdefault((*task, *kind), {})[row["implementation"]] = float(row["seconds"])
    return times


def engine_name(text: str) -> str:
    """PyTorch, TensorFlow or JAX."""
    return next(n for n in ("TensorFlow", "JAX", "PyTorch") if n.lower() in text.lower())


class ExtrasTable(GeneratedTable):
    """The extras of the distribution and what each requires, from pyproject.toml."""

    def rows(self) -> list[tuple]:
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        rows: list[tuple] = [("extra", "requires")]
        for name, needs in tomllib.loads(text)["project"]["optional-dependencies"].items():
            rows.append((f"`{name}`", ", ".join(f"`{need}`" for need in needs)))
        return rows


def add_to(app: Sphinx) -> None:
    """Add the directives."""
    app.add_directive("clause-tests", ClauseTests)
    app.add_directive("dialect-table", DialectTable)
    app.add_directive("accepted-table", AcceptedTable)
    app.add_directive("extras-table", ExtrasTable)
    app.add_directive("mutant-table", MutantTable)
    app.add_directive("possible-table", PossibleTable)
    app.add_directive("recipe-table", RecipeTable)
    app.add_directive("slower-table", SlowerTable)
    app.add_directive("source-table", SourceTable)
    app.add_directive("trace-table", TraceTable)
    app.add_directive("vector-table", VectorTable)
