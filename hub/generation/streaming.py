"""How generated text becomes the parts of a streamed answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

__all__ = ["AnswerStream", "JoinedText"]


class AnswerStream(ABC):
    """Turns the texts of one request's rows into parts of its answer, while they are generated.

    It belongs to one request, and no two threads call it at once. The text of a row arrives in order, in
    pieces of any size, and then its end; the rows of a request alternate. A part is sent to the client at
    once and cannot be taken back; "" sends nothing. The parts together must not depend on the pieces.
    """

    @abstractmethod
    def add(self, row: int, text: str) -> str:
        """Take the next piece of a row's text, and return the next part of the answer."""

    def end(self, row: int) -> str:
        """Return the part that follows when the text of a row is complete."""
        return ""

    def whole(self, texts: Sequence[str]) -> str:
        """Return all parts for the complete texts of the rows: what `decode` puts into the answer."""
        return "".join(self.add(row, text) + self.end(row) for row, text in enumerate(texts))


class JoinedText(AnswerStream):
    """Joins the texts of the rows, stripped of white space around them, in the order of the rows.

    `before` has a separator for each row, which precedes its text. It is omitted where the text of the row is
    empty, or nothing precedes it. Text of a row waits until the rows before it are complete.
    """

    def __init__(self, before: Sequence[str]) -> None:
        self._before = before
        self._waiting = [""] * len(before)  # text that has arrived and is not yet in a part
        self._ended = [False] * len(before)
        self._row = 0  # whose text is being sent
        self._inside = False  # some of it was sent
        self._sent = False

    def add(self, row: int, text: str) -> str:
        self._waiting[row] += text
        return self._next() if row == self._row else ""

    def end(self, row: int) -> str:
        self._ended[row] = True
        return self._next() if row == self._row else ""

    def _next(self) -> str:
        parts = []
        while self._row < len(self._before):
            parts.append(self._visible())
            if not self._ended[self._row]:
                break
            self._row, self._inside = self._row + 1, False
        return "".join(parts)

    def _visible(self) -> str:
        """Take the text up to its last visible character; white space at the end may be that of the row."""
        text = self._waiting[self._row]
        if not self._inside:
            text = text.lstrip()
        part = text.rstrip()
        self._waiting[self._row] = text[len(part) :]
        if not part or self._inside:
            return part
        separator = self._before[self._row] if self._sent else ""
        self._inside = self._sent = True
        return separator + part
