"""The documentation site. From the root of the repository:  sphinx-build -W --keep-going -c docs . build/site."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.ext.autodoc.mock import _MockObject

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

from dynsys import __version__  # noqa: E402  from this repository, whatever is installed

project = "dynsys"
author = copyright = "the authors of dynsys"
version = release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",  # this and the next are in docs/_extensions
    "mathml",
]

# The sources are the repository itself, so that the links which work there work here. A link to a Python file must be
# one to a page (MyST takes it for that if any page is such a file), so the files that are linked are pages as well.
root_doc = "docs/index"
pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "models/*/*.md", "tutorials/*.py"]
linked = [
    (page.parent / target).resolve().relative_to(ROOT).as_posix()
    for pattern in pages
    for page in ROOT.glob(pattern)
    for target in re.findall(r"\]\(([^)#:]+\.py)\)", page.read_text())
]
include_patterns = [*pages, "docs/api/*.rst", *linked]
exclude_patterns = [".*", "build", "**/__pycache__", "docs/_*"]

nb_custom_formats = {".py": ["scripts.read", {}]}
nb_execution_mode = "cache"  # code that has not changed is not run again; build/executed removed, all is
nb_execution_cache_path = str(ROOT / "build" / "executed")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds, a cell
nb_merge_streams = True  # what a loop prints is one box
nb_output_stderr = "error"  # what a tutorial warns of is a warning of the build
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
if find_spec("torch") is None:  # an extra: its names are stood in for, also where they are parts of a union of types
    autodoc_mock_imports = ["torch"]
    _MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self
autodoc_typehints = "none"  # the sections say it in words, with shapes
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_ivar = True

smartquotes_action = "D"  # dashes alone: a string in a docstring keeps its quotes
html_theme = "furo"
html_title = "dynsys"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False


def without_ways_back(app: Any, page: str, template: str, context: dict[str, Any], page_tree: Any) -> None:
    """Take the links to the documentation from pages of source: of what is imported from two modules some are wrong."""
    if page.startswith("_modules/"):
        context["body"] = re.sub(r'<a class="viewcode-back".*?</a>', "", context["body"])


def setup(app: Any) -> None:
    """Connect the above."""
    app.connect("html-page-context", without_ways_back)
