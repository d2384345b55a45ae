"""Anchors of clauses, and a link wherever a page names one: NL-2.3, VC-1.2, or a section, NL-2."""

from __future__ import annotations

import re

import traceability
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.logging import getLogger

#: The page of each kind of clause.
PAGES = {"NL": "spec", "VC": "clips"}
NAME = re.compile(r"\b(?:NL|VC)-\d+(?:\.\d+)?\b")
SECTION = re.compile(r"^(?=## ((?:NL|VC)-\d+) )", re.MULTILINE)
#: Text in these is left as it is.
APART = (nodes.reference, nodes.title, nodes.FixedTextElement, nodes.raw, nodes.image)

logger = getLogger(__name__)


def anchor(clause: str) -> str:
    """NL-2.3 -> nl-2-3."""
    return clause.lower().replace(".", "-")


def add_anchors(app: Sphinx, page: str, source: list[str]) -> None:
    """Give every clause, and every section of clauses, a place to link to."""
    if page in PAGES.values():
        text = SECTION.sub(lambda m: f"({anchor(m[1])})=\n", source[0])
        source[0] = traceability.CLAUSE.sub(
            lambda m: f"- [**{m[1]}**]{{#{anchor(m[1])}}} {m[2]}", text
        )


def known() -> set[str]:
    """Every clause and every section."""
    clauses = [clause for page in PAGES.values() for clause in traceability.clauses(page)]
    return {*clauses, *(clause.split(".")[0] for clause in clauses)}


class ClauseLinks(SphinxPostTransform):
    """Link every clause that a text names; one that does not exist is a warning."""

    default_priority = 800

    def run(self) -> None:
        clauses = known()
        for text in list(self.document.findall(nodes.Text)):
            if NAME.search(text) and not _apart(text):
                text.parent.replace(text, self._linked(text, clauses))

    def _linked(self, text: nodes.Text, clauses: set[str]) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        end = 0
        for match in NAME.finditer(text):
            clause = match[0]
            if clause not in clauses:
                logger.warning("no such clause: %s", clause, location=text.parent)
                continue
            found += [nodes.Text(text[end : match.start()]), self._link(clause)]
            end = match.end()
        return [*found, nodes.Text(text[end:])]

    def _link(self, clause: str) -> nodes.reference:
        page = PAGES[clause[:2]]
        place = anchor(clause)
        if page == self.env.docname:
            return nodes.reference("", clause, internal=True, refid=place, classes=["clause"])
        uri = self.app.builder.get_relative_uri(self.env.docname, page)
        place = f"{uri}#{place}"
        return nodes.reference("", clause, internal=True, refuri=place, classes=["clause"])


def _apart(node: nodes.Node) -> bool:
    while node is not None:
        if isinstance(node, APART):
            return True
        node = node.parent
    return False


def add_to(app: Sphinx) -> None:
    """Add the anchors and the links."""
    app.connect("source-read", add_anchors)
    app.add_post_transform(ClauseLinks)
