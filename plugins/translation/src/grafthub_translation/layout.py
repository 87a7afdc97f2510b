"""What is translated of a text, in which rows, and how the answer is joined from their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from grafthub_translation.glossary import FixedTerm, has_terms
from grafthub_translation.sentences import Span, is_spoken, stripped

__all__ = ["MODEL", "PARTS", "Piece", "join", "lay_out"]

MODEL, PARTS = "model", "parts"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that a row translates; `before` and `after` it is text that is kept.

    The translation of a sentence must have its `terms`. Otherwise the next `parts` pieces, which are the text
    around the terms, take its place.
    """

    text: str
    before: str = ""
    after: str = ""
    terms: tuple[FixedTerm, ...] = ()
    parts: int = 0


def lay_out(text: str, sentences: Iterable[Span], terms: Sequence[FixedTerm]) -> list[Piece]:
    """Return the pieces of a text; a sentence of terms alone is kept as it is.

    There is at least one piece; in a text that has nothing to translate, it is the whole text.
    """
    pieces: list[Piece] = []
    at = place = last = 0
    for start, end in sentences:
        first = place
        while place < len(terms) and terms[place].span[0] < end:
            place += 1
        inside = [term for term in terms[first:place] if term.span[0] >= start]
        parts = _parts(text, (start, end), inside)
        if parts or not inside:
            last = len(pieces)
            pieces.append(Piece(text[start:end], text[at:start], "", tuple(inside), len(parts)))
            pieces += parts
            at = end
    if not pieces:
        start, end = stripped(text, (0, len(text)))
        pieces.append(Piece(text[start:end], text[:start], "", tuple(terms)))
        at = end
    pieces[last] = replace(pieces[last], after=text[at:])
    return pieces


def join(translations: Sequence[tuple[Piece, str]]) -> tuple[str, dict[FixedTerm, str]]:
    """Return the whole translation, and the method that placed each term of a sentence."""
    text, methods, at = "", {}, 0
    while at < len(translations):
        piece, said = translations[at]
        parts = translations[at + 1 : at + 1 + piece.parts]
        method = MODEL
        if piece.terms and not (parts and has_terms(said, [term.translation for term in piece.terms])):
            method = PARTS
            said = "".join(part.before + translation + part.after for part, translation in parts)
            said = said or piece.text  # of terms alone
        methods |= dict.fromkeys(piece.terms, method)
        text += piece.before + said + piece.after
        at += 1 + piece.parts
    return text, methods


def _parts(text: str, sentence: Span, terms: Sequence[FixedTerm]) -> list[Piece]:
    """Return the text around the terms of a sentence, as pieces that begin and end with the sentence."""
    parts: list[Piece] = []
    at, end = sentence
    edges = [at, *(edge for term in terms for edge in term.span), end]
    for span in zip(edges[::2], edges[1::2], strict=True):
        start, stop = stripped(text, span)
        if terms and is_spoken(text[start:stop]):
            parts.append(Piece(text[start:stop], text[at:start]))
            at = stop
    if parts:
        parts[-1] = replace(parts[-1], after=text[at:end])
    return parts
