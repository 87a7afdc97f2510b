"""Self-contained HTML pages: templates that escape every text, and plots as inline SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["render", "svg"]


def render(templates: Path, name: str, **values: Any) -> str:
    """Return the template `name` of a folder, filled in: all that is not Markup is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rooms = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return rooms.get_template(name).render(**values)


def svg(figure: Figure, salt: str, inks: Mapping[str, str] | None = None) -> str:
    """Return a figure as an SVG element, the same each time; `salt` keeps its ids apart from others'.

    `inks` are CSS values to put for colours (`#rrggbb`), so that a plot follows the page that it is in; the
    figure then has no background.
    """
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}), warnings.catch_warnings():
        # The browser has the letters that the font by which the layout is made lacks.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(
            stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=inks is not None
        )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, value in (inks or {}).items():
        text = text.replace(colour, value)
    return text
