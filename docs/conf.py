"""Sphinx configuration: `tox run -e docs`."""

import os
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator as HTMLTranslator

import nlcore

sys.path.insert(0, str(Path(__file__).parent))
import clauses
import commands
import docstrings
import line_breaks
import tables

# autosummary writes the pages of the API anew; those of names that are gone would stay
shutil.rmtree(Path(__file__).parent / "api", ignore_errors=True)

project = "nlcore"
author = "The nlcore contributors"
project_copyright = author
version = release = nlcore.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "notfound.extension",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxext.opengraph",
]
myst_enable_extensions = ["attrs_block", "attrs_inline", "dollarmath", "substitution"]
myst_substitutions = {"self_test_stamp": tables.SELF_TEST["stamp"]}
myst_heading_anchors = 3
exclude_patterns = ["_build", "figures"]
templates_path = ["templates"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["nlcore.css"]
html_favicon = "static/favicon.svg"
html_title = "nlcore"
smartquotes_action = "qe"  # no dashes, which would change options such as --resume
html_math_renderer = "mathml"  # in the page itself: no script, no font and no network
# Where the site and the repository are is known only to who publishes them.
html_baseurl = os.environ.get("DOCS_URL", "")
repository = os.environ.get("DOCS_REPOSITORY", "")
html_theme_options = {"source_repository": repository, "source_branch": "main"}
html_theme_options |= {"source_directory": "docs/"}
if not repository:
    html_theme_options = {"top_of_page_buttons": []}

ogp_site_url = html_baseurl or "/"
ogp_site_name = "nlcore"
ogp_image = "_images/responses.png"
ogp_image_alt = "From one letter of a taxi's sign, arrows to the same letter in other frames."
ogp_social_cards = {"enable": False}
notfound_urls_prefix = os.environ.get("DOCS_PREFIX", "/")

# a prompt is not copied, nor is what a command prints
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Figures are drawn when the site is built, from docs/figures. They have no background, so that the
# style sheet can show them on a dark page.
plot_formats = ["svg"]
plot_html_show_source_link = False
plot_html_show_formats = False
plot_rcparams = {"svg.hashsalt": "nlcore"}
plot_rcparams |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
plot_apply_rcparams = True

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["torchvision"]  # each version fits one version of torch
autosummary_generate_overwrite = True
autosummary_ignore_module_all = False
napoleon_use_ivar = True  # attributes are described once, not a second time as members


logger = getLogger(__name__)


def math(self: HTMLTranslator, node: nodes.math | nodes.math_block) -> None:
    """A formula as MathML; what the converter does not know is a warning."""
    block = isinstance(node, nodes.math_block)
    formula = convert(node.astext(), display="block" if block else "inline")
    # a command, a column or a script letter that browsers do not show
    if re.search(r"\\|<mi>&</mi>|=\"script\"", formula):
        logger.warning("formula that cannot be shown: %s", node.astext(), location=node)
    self.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (math, None), (math, None))
    clauses.add_to(app)
    commands.add_to(app)
    tables.add_to(app)
    docstrings.add_to(app)
    line_breaks.add_to(app)
