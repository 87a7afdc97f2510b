"""What is taken out of a training text, each kind of change as spans that are replaced."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise

from hub.data.aligned import Aligned, Span
from hub.recipe.label_names import INVISIBLE
from hub.recipe.sections.data import Clean

__all__ = ["cleaner"]

Step = Callable[[str], Iterator[Span]]

_BLOCKS = (
    "address|article|aside|blockquote|br|dd|div|dl|dt|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol|p|"
    "pre|section|table|t[dhr]|ul"
)
# The lengths are bounded, so that a text of openings without an end takes no quadratic time.
_TAG = re.compile(
    r"<!--.{0,2000}?-->"
    r"|<(?P<raw>script|style)\b[^<>]{0,2000}>.{0,10000}?</(?P=raw)\s{0,9}>"
    rf"|</?(?P<block>(?:{_BLOCKS})\b)?(?(block)|[a-z])[^<>]*>"
    r"|<!doctype[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"]*[^\s<>\"'.,;:!?)\]}]", re.IGNORECASE)
_SPACE = re.compile(r"\s{2,}|[^\S ]|\A\s|\s\Z")  # all but one space between two words
_ASCII = re.compile(r"[\x00-\x7f]*")


def cleaner(rules: Clean) -> Callable[[Aligned], tuple[str, ...]]:
    """Return a function that cleans a text in place and names the keys of `data.clean` that changed it."""
    steps: list[tuple[str, Step]] = []
    if rules.html:
        steps.append(("html", _tags))
    if rules.entities:
        steps.append(("entities", _entities))
    if rules.control:
        steps.append(("control", lambda text: ((*match.span(), "") for match in INVISIBLE.finditer(text))))
    if rules.unicode != "keep":
        steps.append(("unicode", _to_form(rules.unicode)))
    if rules.urls != "keep":
        mark = "<URL>" if rules.urls == "mask" else ""
        steps.append(("urls", lambda text: ((*match.span(), mark) for match in _URL.finditer(text))))
    if rules.whitespace:
        steps.append(("whitespace", _spaces))

    def clean(text: Aligned) -> tuple[str, ...]:
        return tuple([name for name, step in steps if text.replace(step(text.text))])

    return clean


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
        # Characters that join across these parts would have no place of their own: left as they are.
        if "".join(new for _, _, new in made) == unicodedata.normalize(form, text):  # type: ignore[arg-type]
            yield from made

    return spans


def _composes(char: str) -> bool:
    """Tell whether a character may join the one before it: a mark, or a Korean vowel or final."""
    return unicodedata.category(char).startswith("M") or "\u1160" <= char <= "\u11ff"
