"""What is translated of a text, in which rows, and how the answer is joined from their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from grafthub_translation.glossary import FixedTerm, has_terms
from grafthub_translation.sentences import Span, is_spoken, stripped
from hub.api import AnswerStream

__all__ = ["Joining", "Piece", "lay_out"]

Method = Literal["model", "parts"]


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

    There is at least one piece, as a request needs a row. What it gives is not used if there are only terms.
    """
    pieces: list[Piece] = []
    at = place = last = 0
    for start, end in sentences:
        first = place
        while place < len(terms) and terms[place].span[0] < end:
            place += 1
        inside = [term for term in terms[first:place] if term.span[0] >= start]
        parts = _parts(text, (start, end), inside)
        if parts or (not inside and is_spoken(text[start:end])):
            last = len(pieces)
            pieces.append(Piece(text[start:end], text[at:start], "", tuple(inside), len(parts)))
            pieces += parts
            at = end
    if not pieces and terms:
        return [Piece(terms[0].translation, text, "", tuple(terms))]
    if not pieces:
        start, at = stripped(text, (0, len(text)))
        pieces.append(Piece(text[start:at], text[:start]))
    pieces[last] = replace(pieces[last], after=text[at:])
    return pieces


class Joining(AnswerStream):
    """Joins the texts of the rows of `pieces` to the translation, in their order.

    A sentence without terms is passed on while it is written, one with terms when it is complete.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.methods: dict[FixedTerm, Method] = {}
        """The method that placed each term of a sentence."""
        self._pieces = pieces
        self._texts = [""] * len(pieces)
        self._ended = [False] * len(pieces)
        self._row = 0  # of the current sentence
        self._sent = ""  # of it, with what stands before it

    def add(self, row: int, text: str) -> str:
        self._texts[row] += text
        return self._next()

    def end(self, row: int) -> str:
        self._ended[row] = True
        return self._next()

    def _next(self) -> str:
        found = ""
        while self._row < len(self._pieces):
            piece, ended = self._pieces[self._row], self._ended[self._row]
            said = self._said(piece, ended)
            if said is None:
                break
            said = piece.before + said
            found += said[len(self._sent) :]
            self._sent = said
            if not ended:
                break
            found += piece.after
            self._row, self._sent = self._row + 1 + piece.parts, ""
        return found

    def _said(self, piece: Piece, ended: bool) -> str | None:
        """Return what is final of the current sentence; None if nothing is."""
        text = self._texts[self._row].strip()
        if not piece.terms:
            return text if text or ended else None
        last = self._row + 1 + piece.parts
        rows = range(self._row + 1, last)
        if not ended:
            return None
        if rows and has_terms(text, [term.translation for term in piece.terms]):
            self.methods |= dict.fromkeys(piece.terms, "model")
            return text
        if not all(self._ended[row] for row in rows):
            return None
        self.methods |= dict.fromkeys(piece.terms, "parts")
        parts = [(self._pieces[row], self._texts[row].strip()) for row in rows]
        return "".join(part.before + text + part.after for part, text in parts)


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
