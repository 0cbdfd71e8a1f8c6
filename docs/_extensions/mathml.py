"""Formulas as MathML, which every browser shows by itself: no script, no fonts, no network."""

from html import escape
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _convert(node: nodes.math | nodes.math_block) -> str:
    text = node.astext().replace(r"\dots", r"\ldots")  # Docutils knows only the latter
    try:
        return tex2mathml(text, as_block=isinstance(node, nodes.math_block))
    except MathError as problem:
        logger.warning("%s: %s", text, problem, location=node)
        return f"<code>{escape(text)}</code>"


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_convert(node))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{_convert(node)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
