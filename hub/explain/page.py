"""Renders an explanation as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.explain.explanation import Explanation, ImageExplanation, Word

__all__ = ["image_page", "page"]

_STYLE = """
body { font: 16px/1.7 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
.text { white-space: pre-wrap; }
.text span { border-radius: 3px; padding: 1px 0; }
.picture { position: relative; width: 24rem; max-width: 100%; }
.picture img { display: block; width: 100%; image-rendering: pixelated; }
.picture div { position: absolute; top: 0; left: 0; display: grid; }
th { text-align: left; font-weight: normal; color: #666; padding-right: 2rem; }
td { padding-right: 2rem; } td + td { text-align: right; font-variant-numeric: tabular-nums; }
"""


def page(found: Explanation) -> str:
    """Return the page: the texts with words shaded by score, and a table of the words."""
    words = found.merged()
    highest = max((abs(word.score) for word in words), default=0.0) or 1.0
    texts = "\n".join(
        f"<h2>{escape(name)}</h2>\n<p class=text>{_shaded(text, name, words, highest)}</p>"
        for name, text in found.texts.items()
    )
    rows = "\n".join(
        f"<tr><td>{escape(word.text)}</td><td>{word.score:+.4f}</td></tr>"
        for word in sorted(words, key=lambda word: -abs(word.score))
    )
    scores = f"<table><tr><th>word</th><th>score</th></tr>\n{rows}\n</table>"
    return _document(found, "text", "words", f"{texts}\n{scores}")


def image_page(found: ImageExplanation) -> str:
    """Return the page: the image as the base takes it, with its patches shaded by score."""
    grid, highest = found.grid, found.largest or 1.0
    cells = "".join(
        f'<span title="{score:+.4f}" style="{_shade(score, highest)}"></span>'
        for row in found.patches
        for score in row
    )
    # A rest of the image that fills no patch is not read, and stays bare.
    width = 100 * grid.columns * grid.patch_width / grid.width
    height = 100 * grid.rows * grid.patch_height / grid.height
    style = (
        f"width:{width:.4g}%;height:{height:.4g}%;grid-template-columns:repeat({grid.columns},1fr);"
        f"grid-template-rows:repeat({grid.rows},1fr)"
    )
    picture = (
        f'<div class=picture><img alt="" src="{found.data_url}"><div style="{style}">{cells}</div></div>'
    )
    return _document(found, "image", "patches", picture)


def _document(found: Explanation | ImageExplanation, read: str, parts: str, body: str) -> str:
    title = escape(f"{found.name}@{found.version}: {found.target}")
    return f"""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<p>{_summary(found, read, parts)}</p>
{body}
</html>
"""


def _summary(found: Explanation | ImageExplanation, read: str, parts: str) -> str:
    summary = f"Method {found.method}; score {found.score:.3f}."
    if found.convergence_delta is not None:
        summary += (
            f" The score of the masked {read} is {found.baseline_score:.3f}; convergence delta "
            f"{found.convergence_delta:+.2g}. Green {parts} raise the score of the label, red {parts} "
            "lower it."
        )
    return escape(summary)


def _shaded(text: str, field: str, words: list[Word], highest: float) -> str:
    parts, done = [], 0
    for word in sorted(
        (word for word in words if word.place.field == field), key=lambda one: one.place.start
    ):
        start, end = max(word.place.start, done), word.place.end
        shade = _shade(word.score, highest)
        parts.append(escape(text[done:start]))
        parts.append(f'<span title="{word.score:+.4f}" style="{shade}">{escape(text[start:end])}</span>')
        done = max(done, end)
    return "".join(parts) + escape(text[done:])


def _shade(score: float, highest: float) -> str:
    colour = "0,150,60" if score > 0 else "210,40,40"
    return f"background:rgba({colour},{0.7 * abs(score) / highest:.2f})"
