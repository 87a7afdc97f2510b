"""A row that is in the arena, with what chooses its tokens and what decodes them to text."""

from __future__ import annotations

from collections.abc import Collection

from hub.api import FinishReason
from hub.engine.generate.rows import GeneratingRow
from hub.engine.generate.sampling import Chooser
from hub.engine.generate.text import TextStream
from hub.errors import HubError

__all__ = ["Live"]


class Live:
    """A row that is in the arena."""

    __slots__ = ("chooser", "row", "stream")

    def __init__(self, row: GeneratingRow, chooser: Chooser, stream: TextStream) -> None:
        self.row = row
        self.chooser = chooser
        self.stream = stream

    def append(self, token: int, ends: Collection[int]) -> None:
        """Append the next token, and set why the text has ended if it has."""
        row = self.row
        row.tokens.append(token)
        self.chooser.record(token)
        if token in ends:
            row.reason = FinishReason.STOP
        else:
            self.emit(self.stream.add(token))
            if self.stream.stopped:
                row.reason = FinishReason.STOP
            elif len(row.tokens) == row.limit:
                row.reason = FinishReason.LENGTH
        if row.reason:
            self.emit(self.stream.end())
            if self.stream.stopped:  # in what was held back
                row.reason = FinishReason.STOP

    def emit(self, text: str) -> None:
        if text:
            self.row.text += text
            self.row.on_text(text)

    def end(self, error: HubError | None) -> None:
        self.row.end(error)
