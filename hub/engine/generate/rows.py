"""Rows that generate text: their state, who is next, and who fits into memory; no torch here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hub.api import FinishReason, Output, Row, Sampling
from hub.engine.protocol import OnEnd, OnText
from hub.errors import BadRequest, HubError, Overloaded

__all__ = ["GeneratingRow", "MemoryLimit", "Turns", "check_room"]


@dataclass(eq=False, slots=True)
class GeneratingRow:
    """A row on its way from its prompt to its last token.

    The callbacks are those of `Engine.generate`.
    """

    row: Row
    slot: int
    limit: int  # tokens to generate at most
    on_text: OnText
    on_end: OnEnd
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    stored: int = 0  # tokens of prompt and answer whose keys and values are in the arena
    cancelled: bool = False  # set by any thread; read between steps
    reason: FinishReason | None = None

    def cancel(self) -> None:
        """End the row before the next step."""
        self.cancelled = True

    def end(self, error: HubError | None = None) -> None:
        """Tell how it ended; called once, after the row's memory is free."""
        self.on_end(error or Output(self.row, None, self.text, len(self.tokens), self.reason))

    @property
    def prompt(self) -> Sequence[int]:
        return self.row.input_ids

    @property
    def sampling(self) -> Sampling:
        return self.row.sampling

    @property
    def columns(self) -> int:
        """Columns of the arena that the row may need: its last token is never stored."""
        return len(self.prompt) + self.limit - 1

    @property
    def pending(self) -> Sequence[int]:
        """The tokens whose keys and values are to be computed next."""
        if self.stored < len(self.prompt):
            return self.prompt[self.stored :]
        return self.tokens[self.stored - len(self.prompt) :]


def check_room(prompt: int, wanted: int, max_length: int) -> int:
    """Return how many of the `wanted` tokens fit behind a prompt of so many tokens.

    Raises:
        BadRequest: none is wanted, or none fits.
    """
    if wanted < 1:
        raise BadRequest(f"max_new_tokens must be 1 or more, not {wanted}.")
    if prompt >= max_length:
        raise BadRequest(
            f"A prompt of {prompt} tokens leaves no room for an answer: this base takes {max_length}."
        )
    return min(wanted, max_length - prompt)


class Turns:
    """Rows that wait for their prefill; slots take turns, and rows of one slot are first come, first served.

    Not safe to use from several threads: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._slots: dict[int, deque[GeneratingRow]] = {}  # the first slot is the next to be served

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, row: GeneratingRow) -> None:
        """Put a row at the end of its slot's queue."""
        self._slots.setdefault(row.slot, deque()).append(row)

    def peek(self) -> GeneratingRow | None:
        """Return the row whose turn it is."""
        return next((rows[0] for rows in self._slots.values()), None)

    def take(self) -> GeneratingRow:
        """Remove and return the row whose turn it is; its slot goes to the end."""
        slot, rows = next(iter(self._slots.items()))
        del self._slots[slot]
        row = rows.popleft()
        if rows:
            self._slots[slot] = rows
        return row

    def drop(self, unwanted: Callable[[GeneratingRow], bool]) -> list[GeneratingRow]:
        """Remove and return the rows that are `unwanted`."""
        dropped = [row for rows in self._slots.values() for row in rows if unwanted(row)]
        kept = {slot: deque(row for row in rows if not unwanted(row)) for slot, rows in self._slots.items()}
        self._slots = {slot: rows for slot, rows in kept.items() if rows}
        return dropped


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The arena's size: at most `rows` rows, and `nbytes` bytes at `column_bytes` for a column of one row.

    The arena is a rectangle: every row has as many columns as the longest one.
    """

    rows: int
    nbytes: int
    column_bytes: int

    def fits(self, rows: int, columns: int) -> bool:
        """Return whether so many rows of so many columns fit."""
        return rows <= self.most(columns)

    def most(self, columns: int) -> int:
        """Return how many rows of so many columns fit."""
        return min(self.rows, self.nbytes // (max(columns, 1) * self.column_bytes))

    def check(self, row: GeneratingRow) -> None:
        """Refuse a row that does not fit even when it is alone.

        Raises:
            Overloaded: it does not.
        """
        if not self.fits(1, row.columns):
            needed, allowed = row.columns * self.column_bytes / 1e6, self.nbytes / 1e6
            raise Overloaded(
                f"A prompt of {len(row.prompt)} tokens with {row.limit} more needs {needed:.0f} MB and "
                f"generation has {allowed:.0f} MB (limits.generate_mb). Send a shorter prompt, or ask for "
                "fewer tokens."
            )
