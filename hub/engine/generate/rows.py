"""Rows that generate text: their state, order and memory limit; free of torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hub.api import FinishReason, Output, Row, Sampling
from hub.engine.generate.constraints import Constraint
from hub.engine.protocol import OnEnd, OnText
from hub.engine.shares import Flow, FlowShares
from hub.errors import BadRequest, BadSampling, HubError, Overloaded

__all__ = [
    "SPARE",
    "GeneratingRow",
    "MemoryLimit",
    "TokenCounts",
    "Turns",
    "check_room",
    "columns_of",
    "rounded",
]

COLUMN_STEP = 64  # columns are read and allocated in multiples of it, which keeps the number of shapes low
SPARE = 1  # the last column of an arena, to which padding writes; nothing reads it


@dataclass(slots=True)
class TokenCounts:
    """Tokens since the engine was built; `cached` are those of prompts that were not computed again."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0


@dataclass(eq=False, slots=True)
class GeneratingRow:
    """A row that generates text, with the callbacks of `Engine.generate`."""

    row: Row
    prompt: Sequence[int]  # what the decoder reads first
    slot: int
    limit: int  # maximum tokens to generate
    on_text: OnText
    on_end: OnEnd
    version: str = ""  # the sha256 of the adapter's weights; empty: the bare base
    constraint: Constraint | None = None
    flow: Flow | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    cached: int = 0  # tokens of the prompt whose keys and values were cached
    stored: int = 0  # tokens of prompt and answer whose keys and values are in the arena
    cancelled: bool = False  # set by any thread; read between steps
    reason: FinishReason | None = None
    started_at: float = 0.0  # time.perf_counter; 0.0 while it waits

    def cancel(self) -> None:
        """End the row before the next step."""
        self.cancelled = True

    def end(self, error: HubError | None = None) -> None:
        """Report the end; called once, after the row's memory is free."""
        self.on_end(error or Output(self.row, None, self.text, len(self.tokens), self.reason, self.cached))

    @property
    def sampling(self) -> Sampling:
        return self.row.sampling

    @property
    def places(self) -> int:
        """Rows of the arena: one for each beam."""
        return self.row.sampling.num_beams

    @property
    def columns(self) -> int:
        """Maximum columns of the row in the arena; its last token is never stored."""
        return len(self.prompt) + self.limit - 1

    @property
    def source_columns(self) -> int:
        """Columns of its source in an encoder-decoder."""
        source = self.row.input_ids
        return 0 if self.prompt is source else len(source)

    @property
    def all_columns(self) -> int:
        """Columns that the row may need in all."""
        return self.columns + self.source_columns

    @property
    def pending(self) -> Sequence[int]:
        """The tokens whose keys and values are computed next."""
        if self.stored < len(self.prompt):
            return self.prompt[self.stored :]
        return self.tokens[self.stored - len(self.prompt) :]


def columns_of(rows: Sequence[GeneratingRow]) -> int:
    """Return the columns that each of these rows takes beside the others, in all arenas as allocated."""
    widths = max(row.columns for row in rows), max(row.source_columns for row in rows)
    return sum(rounded(width + SPARE) for width in widths if width)


def rounded(columns: int) -> int:
    """Return the multiple of COLUMN_STEP that has room for so many columns."""
    return -(-columns // COLUMN_STEP) * COLUMN_STEP


def check_room(prompt: int, wanted: int, max_length: int) -> int:
    """Return how many of the `wanted` tokens fit after a prompt of `prompt` tokens.

    Raises:
        BadRequest: `wanted` is less than 1, or none fits.
    """
    if wanted < 1:
        raise BadRequest(f"max_new_tokens must be 1 or more, not {wanted}.")
    if prompt >= max_length:
        raise BadRequest(
            f"A prompt of {prompt} tokens leaves no room for an answer: this base takes {max_length}."
        )
    return min(wanted, max_length - prompt)


class Turns:
    """Rows that wait for prefill: flows share as `FlowShares` has it; a row costs the tokens it may need.

    Rows without a flow form one for each slot. The rows of a flow are first come, first served. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._rows: dict[Flow, deque[GeneratingRow]] = {}
        self._shares = FlowShares()

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add(self, row: GeneratingRow) -> None:
        """Put a row at the end of its flow."""
        flow = row.flow or Flow(deployment=str(row.slot))
        self._shares.join(flow)
        self._rows.setdefault(flow, deque()).append(row)

    def peek(self) -> GeneratingRow | None:
        """Return the next row."""
        return self._rows[self._shares.next()][0] if self._rows else None

    def take(self) -> GeneratingRow:
        """Remove and return the next row."""
        flow = self._shares.next()
        row = self._rows[flow].popleft()
        row.started_at = time.perf_counter()
        self._shares.charge(flow, row.places * row.all_columns)
        self._forget_empty(flow)
        return row

    def drop(self, unwanted: Callable[[GeneratingRow], bool]) -> list[GeneratingRow]:
        """Remove and return the rows that are `unwanted`."""
        dropped = [row for rows in self._rows.values() for row in rows if unwanted(row)]
        for flow, rows in list(self._rows.items()):
            self._rows[flow] = deque(row for row in rows if not unwanted(row))
            self._forget_empty(flow)
        return dropped

    def _forget_empty(self, flow: Flow) -> None:
        if not self._rows[flow]:
            del self._rows[flow]
            self._shares.leave(flow)


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The size limit of the arena: `rows` rows and `nbytes` bytes, with `column_bytes` per column of a row.

    An arena is a rectangle: every row has as many columns as the longest one. `columns` are those of all
    arenas.
    """

    rows: int
    nbytes: int
    column_bytes: int

    def fits(self, rows: int, columns: int) -> bool:
        """Return whether `rows` rows of `columns` columns fit."""
        return rows <= self.max_rows(columns)

    def max_rows(self, columns: int) -> int:
        """Return how many rows of `columns` columns fit."""
        return min(self.rows, self.nbytes // (max(columns, 1) * self.column_bytes))

    def check(self, row: GeneratingRow) -> None:
        """Check that a row fits when it is alone.

        Raises:
            BadSampling: it has more beams than there are rows.
            Overloaded: it needs too much memory.
        """
        if row.places > self.rows:
            raise BadSampling(
                f"num_beams is {row.places}, and this server generates {self.rows} texts or beams at once "
                "(serve.generate_rows). Ask for fewer beams."
            )
        columns = columns_of([row])
        if not self.fits(row.places, columns):
            needed, allowed = row.places * columns * self.column_bytes / 1e6, self.nbytes / 1e6
            beams = f", on {row.places} beams," if row.places > 1 else ""
            raise Overloaded(
                f"A prompt of {len(row.row.input_ids)} tokens and {row.limit} more{beams} need {needed:.0f} "
                f"MB and generation has {allowed:.0f} MB (serve.generate_mb). Send a shorter prompt, or ask "
                f"for fewer tokens{' or beams' if beams else ''}."
            )
