"""Cleans training texts; every change is a list of replaced spans, so that offsets can follow."""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, ClassVar

from hub.api import Cleaner, NoOptions, Span
from hub.errors import BadPlugin
from hub.recipe.label_names import INVISIBLE
from hub.recipe.sections.data import Clean
from hub.registry.active import active
from hub.registry.kinds import CLEANERS
from hub.registry.loaded import extension_call

__all__ = ["Aligned", "Span", "cleaner", "cuts"]

Step = Callable[[str], Iterator[Span]]

_BLOCKS = (
    "address|article|aside|blockquote|br|dd|div|dl|dt|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol|p|"
    "pre|section|table|t[dhr]|ul"
)
# Bounded lengths keep a text of unclosed tags from taking quadratic time.
_TAG = re.compile(
    r"<!--.{0,2000}?-->"
    r"|<(?P<raw>script|style)\b[^<>]{0,2000}>.{0,10000}?</(?P=raw)\s{0,9}>"
    rf"|</?(?P<block>(?:{_BLOCKS})\b)?(?(block)|[a-z])[^<>]*>"
    r"|<!doctype[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"]*[^\s<>\"'.,;:!?)\]}]", re.IGNORECASE)
_SPACE = re.compile(r"\s{2,}|[^\S ]|\A\s|\s\Z")  # white space other than a single space between words
_ASCII = re.compile(r"[\x00-\x7f]*")


def cleaner(rules: Clean) -> Callable[[Aligned], tuple[str, ...]]:
    """Return a function that cleans a text in place and names the keys of `data.clean` that changed it.

    A cleaner of `data.clean.others` is named by its own name.

    Raises:
        NotFound: there is no such cleaner.
    """
    chosen: list[tuple[str, str]] = [
        (key, key) for key in ("html", "entities", "control") if getattr(rules, key)
    ]
    if rules.unicode != "keep":
        chosen.append(("unicode", rules.unicode.lower()))
    if rules.urls != "keep":
        chosen.append(("urls", f"{rules.urls}-urls"))
    if rules.whitespace:
        chosen.append(("whitespace", "whitespace"))
    chosen += [(name, name) for name in rules.others]
    extensions = active().extensions
    steps = [(key, name, extensions.get(CLEANERS, name)) for key, name in chosen]

    def clean(text: Aligned) -> tuple[str, ...]:
        return tuple([key for key, name, step in steps if text.replace(_spans(name, step, text.text))])

    return clean


def cuts(rules: Clean) -> frozenset[str]:
    """Return the keys of `data.clean`, and the names of other cleaners, that may remove visible text."""
    extensions = active().extensions
    others = (name for name in rules.others if extensions.get(CLEANERS, name).cuts)
    return frozenset({"html", "urls", *others})


def _spans(name: str, step: Cleaner[Any], text: str) -> list[Span]:
    """Call a cleaner; raise BadPlugin if it fails or its spans are not sorted, apart and inside the text."""
    with extension_call(CLEANERS.word, name, "spans()"):
        spans, at = list(step.spans(text)), 0
        for start, end, new in spans:
            if not at <= start < end <= len(text) or not isinstance(new, str):
                raise BadPlugin(
                    f"Cleaner {name!r}: the span {start}, {end} is empty, outside, or overlaps another."
                )
            at = end
        return spans


class HtmlCleaner(Cleaner[NoOptions]):
    """Removes tags, comments, scripts and styles."""

    cuts = True

    def spans(self, text: str) -> Iterator[Span]:
        return _tags(text)


class EntityCleaner(Cleaner[NoOptions]):
    """Decodes character references."""

    def spans(self, text: str) -> Iterator[Span]:
        return _entities(text)


class ControlCleaner(Cleaner[NoOptions]):
    """Removes control characters and other invisible ones."""

    def spans(self, text: str) -> Iterator[Span]:
        return ((*match.span(), "") for match in INVISIBLE.finditer(text))


class NfcCleaner(Cleaner[NoOptions]):
    """Normalizes to the Unicode form NFC."""

    def spans(self, text: str) -> Iterator[Span]:
        return _to_form("NFC")(text)


class NfkcCleaner(Cleaner[NoOptions]):
    """Normalizes to the Unicode form NFKC."""

    def spans(self, text: str) -> Iterator[Span]:
        return _to_form("NFKC")(text)


class UrlMasker(Cleaner[NoOptions]):
    """Replaces URLs with `<URL>`."""

    mask: ClassVar[str] = "<URL>"

    def spans(self, text: str) -> Iterator[Span]:
        return ((*match.span(), self.mask) for match in _URL.finditer(text))


class UrlDropper(UrlMasker):
    """Removes URLs."""

    cuts = True
    mask = ""


class WhitespaceCleaner(Cleaner[NoOptions]):
    """Collapses whitespace."""

    def spans(self, text: str) -> Iterator[Span]:
        return _spaces(text)


def _tags(text: str) -> Iterator[Span]:
    for match in _TAG.finditer(text):
        yield (*match.span(), "\n" if match["block"] else "")


def _entities(text: str) -> Iterator[Span]:
    for match in _ENTITY.finditer(text):
        yield (*match.span(), html.unescape(match[0]))


def _spaces(text: str) -> Iterator[Span]:
    for match in _SPACE.finditer(text):
        start, end = match.span()
        lines = len(f"{match[0]}.".splitlines()) - 1
        yield start, end, "" if start == 0 or end == len(text) else "\n" * min(lines, 2) or " "


def _to_form(form: str) -> Step:
    def spans(text: str) -> Iterator[Span]:
        if _ASCII.fullmatch(text) or unicodedata.is_normalized(form, text):  # type: ignore[arg-type]
            return
        starts = [index for index, char in enumerate(text) if index == 0 or not _composes(char)]
        made = [
            (start, end, unicodedata.normalize(form, text[start:end]))  # type: ignore[arg-type]
            for start, end in pairwise([*starts, len(text)])
        ]
        # A text whose characters join across these parts is not changed: the spans would be wrong.
        if "".join(new for _, _, new in made) == unicodedata.normalize(form, text):  # type: ignore[arg-type]
            yield from made

    return spans


def _composes(char: str) -> bool:
    """Return whether a character may combine with the previous one: a mark, or a Korean vowel or final."""
    return unicodedata.category(char).startswith("M") or "\u1160" <= char <= "\u11ff"


class Aligned:
    """A text that records its replacements, so that offsets into the original can be mapped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps: list[tuple[Sequence[Span], list[int]]] = []

    def replace(self, spans: Iterable[Span]) -> bool:
        """Replace sorted spans of the current text; return whether the text changed."""
        real = [span for span in spans if self.text[span[0] : span[1]] != span[2]]
        if not real:
            return False
        parts, at = [], 0
        for start, end, new in real:
            parts += [self.text[at:start], new]
            at = end
        self.text = "".join([*parts, self.text[at:]])
        # The shift of the characters after each span.
        self._steps.append((real, list(accumulate(len(new) - (end - start) for start, end, new in real))))
        return True

    def moved(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of the original to the current text; it is extended over replacements it overlaps.

        Start and end are equal if nothing is left of the span.
        """
        for spans, shifts in self._steps:
            if start >= end:
                return start, start
            start = _moved(start, spans, shifts, is_end=False)
            end = _moved(end, spans, shifts, is_end=True)
        return start, end


def _moved(offset: int, spans: Sequence[Span], shifts: Sequence[int], *, is_end: bool) -> int:
    index = bisect_right(spans, offset, key=lambda span: span[0]) - 1
    if index < 0:
        return offset
    start, end, new = spans[index]
    before = shifts[index - 1] if index else 0
    if offset >= end:
        return offset + shifts[index]
    if offset == start or not is_end:
        return start + before
    return start + before + len(new)
