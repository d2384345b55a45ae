"""Sphinx configuration: `tox run -e docs`."""

import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import nlcore

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


class DialectTable(SphinxDirective):
    """The dialects as they are at C = 1024, from `nlcore.DIALECTS`, one row each."""

    def run(self) -> list[nodes.Node]:
        columns = ("name", "pairwise", "ndim", "D", "scale", "subsample", "subsample_at")
        columns += ("bias", "pair_bias", "batch_norm", "source")
        rows = [columns, ("---",) * len(columns)]
        for name, known in nlcore.DIALECTS.items():
            spec = nlcore.dialect(name, 1024)
            pairwise = "all" if len(known.pairwise) == 4 else ", ".join(known.pairwise)
            pair_bias = known.fields.get("pair_bias", False)
            values = (f"`{name}`", pairwise, known.ndims, spec.inner_channels, f"{spec.scale:.4g}")
            values += (spec.subsample, spec.subsample_at, spec.bias, pair_bias, spec.batch_norm)
            rows.append((*values, known.source.replace("*", r"\*")))
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
        table = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, table)
        return table.children


def escape_formulas(app, what, name, obj, options, lines: list[str]) -> None:
    """Keep the * and | of docstrings' formulas from being read as markup."""
    for n, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[n] = re.sub(r"[*|]", r"\\\g<0>", line)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("dialect-table", DialectTable)
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)  # before napoleon
