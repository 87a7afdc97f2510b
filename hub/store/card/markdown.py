"""Escapes untrusted text for Markdown, so that it is read neither as markup nor as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["code", "plain", "table"]


def plain(value: Any) -> str:
    """Return a value as one line of escaped Markdown."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)


def code(value: Any) -> str:
    """Return a value as inline code, on one line."""
    text = " ".join(str(value).split()).replace("`", "'")
    return f"`{text}`" if text else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the cells are Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
