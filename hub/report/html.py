"""Self-contained HTML pages: templates with autoescaping, and plots as inline SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["render", "svg"]


def render(name: str, **values: Any) -> str:
    """Return the rendered template `name`; everything but Markup is escaped."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    """Return what keeps the compiled templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def svg(figure: Figure, salt: str, css: Mapping[str, str] | None = None) -> Markup:
    """Return a figure as a reproducible SVG element; `salt` makes its ids unique in a page.

    `css` maps colours (`#rrggbb`) to CSS values, so that a plot follows the colours of its page; the figure
    then has no background.
    """
    from markupsafe import Markup
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}), warnings.catch_warnings():
        # The browser has the glyphs that the font of the layout lacks.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(
            stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=css is not None
        )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, value in (css or {}).items():
        text = text.replace(colour, value)
    return Markup(text)
