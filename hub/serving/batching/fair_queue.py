"""The queue of rows for one engine, and the choice of rows for the next forward; not thread-safe.

Calls take turns row by row, so that a call with hundreds of rows does not delay one with a single row. The
cost of a forward is its number of rows times its longest row, so it takes rows of similar length to the
first in turn, as long as their padding costs less than a second forward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Protocol

from hub.api import Output
from hub.engine.protocol import EngineRow
from hub.errors import HubError

__all__ = ["FairQueue", "Job", "Pick", "TextListener"]

WINDOW = 4  # batches of rows to choose from
TOKENS_PER_ROW = 128  # a forward takes at most batch_rows times this many padded tokens


class TextListener(Protocol):
    """Receives the texts of a job's rows while they are generated; called in the engine's thread."""

    def write(self, row: int, text: str) -> None:
        """Receive the next piece of a row's text."""

    def end(self, row: int) -> None:
        """Receive the end of a row's text; not called if the row fails."""


class Job:
    """The rows of one call and their outcomes, in the same order.

    `on_settled` is called once, when no row is queued or running: from then on the slots of the rows may be
    reused.
    """

    __slots__ = (
        "cancelled",
        "engine_s",
        "listener",
        "on_settled",
        "outcomes",
        "pending",
        "queued_at",
        "rows",
        "running",
        "settled",
        "started_at",
        "waiter",
    )

    def __init__(
        self, rows: Sequence[EngineRow], on_settled: Callable[[], None], waiter: object = None
    ) -> None:
        self.rows = rows
        self.on_settled = on_settled
        self.waiter = waiter
        self.listener: TextListener | None = None
        self.outcomes: list[Output | HubError | None] = [None] * len(rows)
        self.pending = list(range(len(rows)))
        self.running = 0
        self.cancelled = False
        self.settled = False
        self.queued_at = time.perf_counter()
        self.started_at = 0.0
        self.engine_s = 0.0

    @property
    def queue_s(self) -> float:
        """Seconds between submission and the first forward."""
        return max(self.started_at - self.queued_at, 0.0)

    def results(self) -> list[Output]:
        """Return every row's output, or raise the first row's error."""
        outputs: list[Output] = []
        for outcome in self.outcomes:
            if isinstance(outcome, HubError):
                raise outcome
            assert outcome is not None
            outputs.append(outcome)
        return outputs


Pick = tuple[Job, int]  # a job and the index of one of its rows


class FairQueue:
    """Jobs with queued rows, in the order of their turns."""

    def __init__(self) -> None:
        self._jobs: dict[Job, None] = {}  # an ordered set
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def jobs(self) -> int:
        """The number of jobs with queued rows."""
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        self._jobs[job] = None
        self._rows += len(job.pending)

    def drop(self, job: Job) -> None:
        """Remove the queued rows of `job`, if it is queued."""
        if job in self._jobs:
            del self._jobs[job]
            self._rows -= len(job.pending)
            job.pending = []

    def take(self, limit: int, fixed_tokens: float) -> list[Pick]:
        """Remove and return the rows of the next forward: at least the first in turn.

        `fixed_tokens` is the cost of one more forward, in tokens.
        """
        window = list(islice(self._in_turn(), limit * WINDOW))
        picks = _similar(window, limit, fixed_tokens) if len(window) > 1 else window
        taken: dict[Job, set[int]] = {}
        for job, index in picks:
            taken.setdefault(job, set()).add(index)
        for job, indices in taken.items():
            job.pending = [index for index in job.pending if index not in indices]
            del self._jobs[job]
            if job.pending:
                self._jobs[job] = None
        self._rows -= len(picks)
        return picks

    def drain(self) -> list[Job]:
        """Remove and return every job."""
        jobs = list(self._jobs)
        for job in jobs:
            self.drop(job)
        return jobs

    def _in_turn(self) -> Iterator[Pick]:
        """Yield the first queued row of every job, then the second of every job that has one."""
        jobs = list(self._jobs)
        for turn in count():
            jobs = [job for job in jobs if turn < len(job.pending)]
            if not jobs:
                return
            yield from ((job, job.pending[turn]) for job in jobs)


def _similar(window: Sequence[Pick], limit: int, fixed_tokens: float) -> list[Pick]:
    """Choose up to `limit` rows of similar length to the first, which is always among them."""
    lengths = [len(job.rows[index].row.input_ids) for job, index in window]
    order = sorted(range(1, len(window)), key=lambda place: abs(lengths[place] - lengths[0]))
    chosen, longest, tokens = [0], lengths[0], lengths[0]
    for place in order:
        if len(chosen) == limit:
            break
        padded = (len(chosen) + 1) * max(longest, lengths[place])
        # Two forwards would have about half the padding of one.
        wasted = (padded - tokens - lengths[place]) / 2
        if padded > limit * TOKENS_PER_ROW or wasted > fixed_tokens:
            continue
        chosen.append(place)
        longest = max(longest, lengths[place])
        tokens += lengths[place]
    return [window[place] for place in sorted(chosen)]
