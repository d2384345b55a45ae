"""Sphinx configuration: `tox run -e docs`."""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import nlcore
from nlcore_conformance.mutants import mutants

project = "nlcore"
author = "The nlcore contributors"
project_copyright = author
version = release = nlcore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"

# The build needs neither framework: only names and docstrings are read.
autodoc_mock_imports = ["keras", "torch"]
autodoc_typehints = "none"


VECTORS = Path(__file__).parents[1] / "conformance" / "vectors" / "manifest.json"


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
        for v in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]:
            clauses = ", ".join(clause.removeprefix("NL-") for clause in v["clauses"])
            rows.append((f"`{v['name']}`", v["about"], clauses, ", ".join(v["dtypes"])))
        return rows


class MutantTable(GeneratedTable):
    """The shipped mutants, from `nlcore_conformance.mutants`."""

    def rows(self) -> list[tuple]:
        rows: list[tuple] = [("mutant", "what is wrong", "clause", "stage")]
        for mutant in mutants():
            rule = re.sub(r"([*|_\\])", r"\\\1", mutant.rule)
            rows.append((mutant.name.replace("|", r"\|"), rule, mutant.clause, mutant.stage))
        return rows


class DialectTable(GeneratedTable):
    """The dialects as they are at C = 1024, from `nlcore.DIALECTS`, one row each."""

    def rows(self) -> list[tuple]:
        columns = ("name", "pairwise", "ndim", "D", "scale", "subsample", "subsample_at")
        columns += ("bias", "pair_bias", "batch_norm", "source")
        rows: list[tuple] = [columns]
        for name, known in nlcore.DIALECTS.items():
            spec = nlcore.dialect(name, 1024)
            pairwise = "all" if len(known.pairwise) == 4 else ", ".join(known.pairwise)
            pair_bias = known.fields.get("pair_bias", False)
            values = (f"`{name}`", pairwise, known.ndims, spec.inner_channels, f"{spec.scale:.4g}")
            values += (spec.subsample, spec.subsample_at, spec.bias, pair_bias, spec.batch_norm)
            rows.append((*values, known.source.replace("*", r"\*")))
        return rows


def escape_formulas(app, what, name, obj, options, lines: list[str]) -> None:
    """Keep the * and | of docstrings' formulas from being read as markup."""
    for n, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[n] = re.sub(r"[*|]", r"\\\g<0>", line)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("dialect-table", DialectTable)
    app.add_directive("mutant-table", MutantTable)
    app.add_directive("vector-table", VectorTable)
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)  # before napoleon
