"""Finds the sentences of a text; spacing, line breaks and list markers stand between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

import sentencex

__all__ = ["Span", "find_sentences", "is_spoken", "stripped"]

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""

_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")  # up to a line break of `str.splitlines`
_MARKER = re.compile(r"\s*(?:(?:[-*+•‣◦▪–—]|#{1,6}|>+|\d{1,3}[.)]|[A-Za-z]\))\s+)*")  # noqa: RUF001
_MIN_LETTERS = 2  # what has fewer goes with the next sentence: "M. Dupont", "2. Auflage"


def find_sentences(text: str, language: str, kept: Sequence[Span] = ()) -> Iterator[Span]:
    """Yield the sentences of a text, without the white space around them.

    `language` is a code of two letters. A sentence has no line break, and none ends inside a part in `kept`;
    these are in order and have no line break either.
    """
    later = iter(kept)
    part = next(later, None)
    for line in _LINE.finditer(text):
        start, end = line.span()
        inside: list[Span] = []
        while part and part[0] < end:
            inside.append(part)
            part = next(later, None)
        marker = _MARKER.match(text, start, end)
        begin = min([marker.end() if marker else start, *(first for first, _ in inside)])
        cut = {at for first, last in inside for at in range(first + 1, last)}
        first = begin
        for last in (begin + at for at in _ends(text[begin:end], language)):
            letters = sum(character.isalpha() for character in text[first:last])
            if last < end and (last in cut or letters < _MIN_LETTERS):
                continue
            if is_spoken(text[first:last]):
                yield stripped(text, (first, last))
            first = last


def stripped(text: str, span: Span) -> Span:
    """Return a part of a text without the white space around it."""
    part = text[slice(*span)]
    start = span[0] + len(part) - len(part.lstrip())
    return start, max(start, span[1] - len(part) + len(part.rstrip()))


def is_spoken(text: str) -> bool:
    """Return whether there is anything to translate: a letter or a digit."""
    return any(character.isalnum() for character in text)


def _ends(line: str, language: str) -> Sequence[int]:
    """Return the ends of the sentences of a line.

    sentencex 1.0.32 panics at white space beyond ASCII after an initial, so it is given ordinary spaces.
    """
    spaced = "".join(" " if character.isspace() else character for character in line)
    ends = list(accumulate(map(len, sentencex.segment(language, spaced))))
    return ends if ends[-1:] == [len(line)] else [len(line)]
