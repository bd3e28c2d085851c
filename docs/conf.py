"""Settings of the site that Sphinx makes of these pages: `make docs`."""

import re
from importlib.metadata import version as version_of

from sphinx.application import Sphinx

project = "garage"
author = "the garage developers"
copyright = "the garage developers, MIT licence"  # noqa: A001 - Sphinx's name for it
release = version = version_of("garage")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_click"]
html_theme = "furo"
html_title = f"garage {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # pages link to each other's headings, as they do where the repository is shown
default_role = "py:obj"
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False

_LEAVES_THE_PAGES = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?:examples|README|CHANGELOG|CONTRIBUTING)[^)]*)\)")


def _name_what_is_not_here(app: Sphinx, name: str, source: list[str]) -> None:  # noqa: ARG001 - what Sphinx hands over
    """Links to files of the repository that are no pages become their names."""
    source[0] = _LEAVES_THE_PAGES.sub(r"\1 (`\2`)", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _name_what_is_not_here)
