"""Hooks of the site that mkdocs builds of these pages: diagrams are drawn at build time.

The theme would load a script from a content delivery network to draw them; the built site makes no outside
request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mmdr
from pymdownx.slugs import slugify

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

__all__ = ["on_config"]

_STYLE = (
    ".diagram { background: #fff; padding: 8px; }"
    ".diagram text, .diagram tspan { font-size: 12px !important; }</style>"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let blocks of mermaid become drawings, and name headings as GitHub does, for links to them."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    fence = {"name": "mermaid", "class": "diagram", "format": _drawn}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def _drawn(source: str, *_: Any, **__: Any) -> str:
    """Return the SVG of a diagram, in the place of its fence.

    Its boxes are measured in a narrower font than a browser may have, so the text is made smaller; its lines
    are black, also on dark pages.
    """
    drawing = mmdr.render(source, backend="merman").svg()
    return f'<div class="diagram">{drawing.replace("</style>", _STYLE, 1)}</div>'
