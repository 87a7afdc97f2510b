"""Terms with a fixed translation: finds them in texts, and checks that translations have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from grafthub_translation.sentences import Span
from hub.task_tools import is_continuation

__all__ = ["FixedTerm", "fill", "has_terms"]

# Scripts whose words have no spaces between them, or whose particles follow words without one (Hangul).
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)


@dataclass(frozen=True, slots=True)
class FixedTerm:
    """A term of the glossary, and the place of its translation in a filled text."""

    term: str
    translation: str
    span: Span


def fill(text: str, glossary: Mapping[str, str]) -> tuple[str, list[FixedTerm]]:
    """Replace the terms of a glossary in a text by their translations.

    Terms are whole words, and their case matters; where several fit, the first and longest is taken.
    """
    filled, found, read = "", [], 0
    for start, end in _find(text, glossary):
        term = text[start:end]
        filled += text[read:start]
        place = len(filled)
        filled += glossary[term]
        found.append(FixedTerm(term, glossary[term], (place, len(filled))))
        read = end
    return filled + text[read:], found


def has_terms(text: str, translations: Sequence[str]) -> bool:
    """Return whether a text has each of these translations, exactly as often as they are given."""
    wanted = Counter(translations)
    return Counter(text[slice(*span)] for span in _find(text, wanted)) == wanted


def _find(text: str, terms: Collection[str]) -> Iterator[Span]:
    lengths = sorted({len(term) for term in terms}, reverse=True)
    firsts = {term[0] for term in terms}
    at = 0
    while at < len(text):
        end = _end_of(text, at, terms, lengths) if text[at] in firsts else 0
        if end:
            yield at, end
        at = end or at + 1


def _end_of(text: str, start: int, terms: Collection[str], lengths: Sequence[int]) -> int:
    """Return the end of the longest term at `start`, or 0."""
    if _is_inside_word(text, start):
        return 0
    ends = (start + length for length in lengths if text[start : start + length] in terms)
    return next((end for end in ends if not _is_inside_word(text, end)), 0)


def _is_inside_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    return is_continuation(text, at) or all(map(_is_spaced, text[at - 1 : at + 1]))


def _is_spaced(character: str) -> bool:
    return (character.isalnum() or character == "_") and not _UNSPACED.match(character)
