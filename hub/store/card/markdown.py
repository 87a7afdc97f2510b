"""Words of other people in Markdown, which is neither to read them as markup nor as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["code", "plain", "table"]


def plain(value: Any) -> str:
    """Return a value as text on one line that Markdown shows as it is."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)


def code(value: Any) -> str:
    """Return a value in the letters of code, on one line."""
    text = " ".join(str(value).split()).replace("`", "'")
    return f"`{text}`" if text else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
