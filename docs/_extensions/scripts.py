"""Python files as pages: tutorials, which are executed, and the other files that the pages link to, as they are.

MyST takes a link to a file for one to a page if pages can have its suffix; so every `.py` that is linked must be one.
"""

import ast

import jupytext
from nbformat import NotebookNode, v4

PERCENT = "# %%"
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}  # else nothing says how to colour it


def read(text: str) -> NotebookNode:
    """The notebook of a percent script; of any other file one cell of text, with its source, which is not run."""
    if text.startswith(PERCENT):
        notebook = jupytext.reads(text, fmt="py:percent")
        notebook.metadata.update(PYTHON)
        return notebook
    title = (ast.get_docstring(ast.parse(text)) or "Source").splitlines()[0].rstrip(".")
    page = f"# {title}\n\n~~~python\n{text}\n~~~\n"
    return v4.new_notebook(cells=[v4.new_markdown_cell(page)], metadata={"orphan": True, "nosearch": True} | PYTHON)
