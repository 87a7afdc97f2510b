"""What is kept of the HTML of a plugin: elements and attributes that show text, and nothing that acts.

The policy of the pages stops scripts, but not forms, links, or the attributes by which htmx sends requests:
a renderer that forgets to escape a text would let its author press buttons.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser

__all__ = ["plain_html"]

_ELEMENTS = """
abbr b blockquote br caption cite code dd del details dfn div dl dt em figcaption figure h3 h4 h5 h6 hr i ins
kbd li mark meter ol p pre progress q rp rt ruby s samp small span strong sub summary sup table tbody td tfoot
th thead tr u ul var wbr
"""
_ATTRIBUTES = """
aria-hidden aria-label class colspan dir high lang low max min open optimum rowspan scope title value
"""
ELEMENTS, ATTRIBUTES = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())
VOID = frozenset({"br", "hr", "wbr"})
DROPPED = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "math", "title"})


def plain_html(text: str) -> str:
    """Return HTML that is made again from the elements, attributes and texts that may stay.

    Other elements are left out and their texts stay, but for those of DROPPED. All elements are closed.
    """
    rewriter = _Rewriter()
    rewriter.feed(text)
    rewriter.close()
    return rewriter.result()


class _Rewriter(HTMLParser):
    """Writes each part that it reads, escaped anew, so that a browser reads what was written here."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropped: list[str] = []

    def result(self) -> str:
        return "".join(self._parts) + "".join(f"</{name}>" for name in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self._dropped.append(tag)
        if self._dropped or tag not in ELEMENTS:
            return
        kept = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs if name in ATTRIBUTES)
        self._parts.append(f"<{tag}{kept}>")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropped:
            del self._dropped[len(self._dropped) - 1 - self._dropped[::-1].index(tag) :]
        elif not self._dropped and tag in self._open:
            while (last := self._open.pop()) != tag:
                self._parts.append(f"</{last}>")
            self._parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._parts.append(escape(data))
