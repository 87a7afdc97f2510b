# ruff: noqa: TID253 - imported by the torch engine only
"""Rows that are in the arena, with what chooses their tokens and what decodes them to text."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from hub.api import FinishReason
from hub.engine.generate.beams import BeamSearch
from hub.engine.generate.rows import GeneratingRow
from hub.engine.generate.sampling import Chooser
from hub.engine.generate.text import TextStream
from hub.errors import HubError

__all__ = ["Beams", "Live"]


class Live:
    """A row of the arena: a text of its own, or a beam of one."""

    __slots__ = ("beams", "chooser", "row", "stream")

    def __init__(self, row: GeneratingRow, chooser: Chooser, stream: TextStream) -> None:
        self.row = row
        self.chooser = chooser
        self.stream = stream
        self.beams: Beams | None = None

    @property
    def members(self) -> list[Live]:
        """The rows of the arena that belong to this text; the first of them stands for it."""
        return self.beams.members if self.beams else [self]

    @property
    def leads(self) -> bool:
        """Whether this is the first row of its text."""
        return self.members[0] is self

    def append(self, token: int, ends: Collection[int]) -> None:
        """Append the next token, and set why the text has ended if it has."""
        row = self.row
        row.tokens.append(token)
        self.chooser.record(token)
        if token in ends:
            row.reason = FinishReason.STOP
        else:
            self.emit(self.stream.add(token))
            if self.stream.stopped or (row.constraint and row.constraint.complete):
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


class Beams:
    """The beams of one text, which join and leave together: one for its prefill, then `num_beams`."""

    def __init__(self, first: Live, ends: Collection[int]) -> None:
        sampling = first.row.sampling
        self._ends = ends
        self._search = BeamSearch(sampling.num_beams, sampling.length_penalty, first.row.limit, ends)
        self._streams = [first.stream]  # of each beam; read only if there are stop strings
        self._extended: dict[tuple[int, int], TextStream] = {}
        self.members = [first]
        self.parents: list[int] = []
        """Which of the beams before the last step each beam continues."""

    def advance(self, logits: Tensor) -> None:
        """Set the next token of each beam, from float32 logits [beams, V], or the text that has ended."""
        seen = [[*beam.row.prompt, *beam.row.tokens] for beam in self.members]
        log_probs = self.members[0].chooser.rules.log_probs(logits, seen)
        self.parents = self._search.step(log_probs, self._stops)
        if self._search.done:
            self._end()
            return
        running = self._search.running
        if self.members[0].row.sampling.stop:
            pairs = zip(self.parents, running, strict=True)
            self._streams = [self._extended[parent, one.tokens[-1]] for parent, one in pairs]
            self._extended = {}
        for beam, hypothesis in zip(self.members, running, strict=False):
            beam.row.tokens = hypothesis.tokens

    def spread(self) -> list[Live]:
        """Add the other beams after the prefill, and return them."""
        first = self.members[0]
        for hypothesis in self._search.running[1:]:
            row = replace(first.row, tokens=hypothesis.tokens, cancelled=False)
            beam = Live(row, first.chooser, first.stream)
            beam.beams = self
            self.members.append(beam)
        return self.members[1:]

    def _stops(self, parent: int, token: int) -> bool:
        """Return whether a beam has a stop string with this token."""
        if not self.members[0].row.sampling.stop:
            return False
        stream = self._extended[parent, token] = self._streams[parent].copy()
        stream.add(token)
        return stream.stopped

    def _end(self) -> None:
        first, best = self.members[0], self._search.best
        stream = first.stream
        text = "".join(stream.add(token) for token in best.tokens if token not in self._ends) + stream.end()
        first.row.tokens = best.tokens
        first.row.reason = FinishReason.STOP if best.stopped or stream.stopped else FinishReason.LENGTH
        first.emit(text)
