"""Settings of the documentation site: `sphinx-build -W -b html docs docs/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generated_pages import write_pages
from sphinx.application import Sphinx

import ddrnet

project = "ddrnet"
author = "the ddrnet maintainers"
copyright = author
release = ddrnet.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "browser"]

html_theme = "pydata_sphinx_theme"
html_title = f"ddrnet {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "logo": {"text": "ddrnet"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars: dict[str, list[str]] = {"index": [], "quickstart": [], "changelog": []}

myst_heading_anchors = 3
default_role = "py:obj"  # a name in backticks links to its page where it has one
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_use_ivar = True  # attributes stand in the class, and methods alone below it

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300  # seconds for one cell
nb_execution_raise_on_error = True
nb_merge_streams = True

write_pages(Path(__file__).parent / "_generated")


def skip_tuple_field(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of named tuples, which the text of their class describes."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_tuple_field)
