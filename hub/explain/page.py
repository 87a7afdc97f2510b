"""Renders an explanation as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.explain.explanation import Explanation, Word

__all__ = ["page"]

_STYLE = """
body { font: 16px/1.7 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
.text { white-space: pre-wrap; }
.text span { border-radius: 3px; padding: 1px 0; }
th { text-align: left; font-weight: normal; color: #666; padding-right: 2rem; }
td { padding-right: 2rem; } td + td { text-align: right; font-variant-numeric: tabular-nums; }
"""


def page(found: Explanation) -> str:
    """Return the page: the texts with words shaded by score, and a table of the words."""
    words = found.merged()
    highest = max((abs(word.score) for word in words), default=0.0) or 1.0
    title = escape(f"{found.name}@{found.version}: {found.target}")
    texts = "\n".join(
        f"<h2>{escape(name)}</h2>\n<p class=text>{_shaded(text, name, words, highest)}</p>"
        for name, text in found.texts.items()
    )
    rows = "\n".join(
        f"<tr><td>{escape(word.text)}</td><td>{word.score:+.4f}</td></tr>"
        for word in sorted(words, key=lambda word: -abs(word.score))
    )
    return f"""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<p>{_summary(found)}</p>
{texts}
<table><tr><th>word</th><th>score</th></tr>
{rows}
</table>
</html>
"""


def _summary(found: Explanation) -> str:
    summary = f"Method {found.method}; score {found.score:.3f}."
    if found.convergence_delta is not None:
        summary += (
            f" The score of the masked text is {found.baseline_score:.3f}; convergence delta "
            f"{found.convergence_delta:+.2g}. Green words raise the score of the label, red words lower it."
        )
    return escape(summary)


def _shaded(text: str, field: str, words: list[Word], highest: float) -> str:
    parts, done = [], 0
    for word in sorted(
        (word for word in words if word.place.field == field), key=lambda one: one.place.start
    ):
        start, end = max(word.place.start, done), word.place.end
        colour = "0,150,60" if word.score > 0 else "210,40,40"
        shade = f"background:rgba({colour},{0.7 * abs(word.score) / highest:.2f})"
        parts.append(escape(text[done:start]))
        parts.append(f'<span title="{word.score:+.4f}" style="{shade}">{escape(text[start:end])}</span>')
        done = max(done, end)
    return "".join(parts) + escape(text[done:])
