"""The queue of rows for one engine, and the choice of rows for the next forward; not thread-safe.

Callers and their deployments share the engine as `FlowShares` has it; a row costs its tokens. Calls of one
flow take turns row by row, so that a call with hundreds of rows does not delay one with a single row. The
cost of a forward is its number of rows times its longest row, so it takes rows of similar length to the
first in turn, as long as their padding costs less than a second forward. An engine that packs rows pads
little, and least where lengths differ: short rows fill what others leave. It takes all short rows in turn,
and long ones by length, since attention takes time in proportion to the square of a sequence.

While one flow has most of the queued rows and others come and go, a forward takes at most about twice as long
as it would with its first row alone: a row that arrives meanwhile waits for it, and shares the next one. On a
CPU such forwards are short; on a GPU, where many rows cost hardly more than one, they are as long as ever.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Protocol

from hub.api import Output
from hub.engine.protocol import EngineRow
from hub.engine.shares import Costed, Flow, FlowShares
from hub.errors import HubError
from hub.serving.batching.places import QueuePlaces

__all__ = ["NOBODY", "SHORT_ROW_TOKENS", "FairQueue", "Job", "Pick", "TextListener", "padded_tokens"]

NOBODY = Flow()
RECENT_S = 10.0  # a flow that was active since then may come back at any time
MOST_ROWS = 0.5  # a flow with a larger part of the queued rows floods it,
MIN_FLOOD_ROWS = 8  # of so many or more
WINDOW = 4  # batches of rows to choose from
SHORT_ROW_TOKENS = 64  # rows of up to so many share sequences, whatever their lengths
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
        "flow",
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
        self,
        rows: Sequence[EngineRow],
        on_settled: Callable[[], None],
        waiter: object = None,
        flow: Flow = NOBODY,
    ) -> None:
        self.rows = rows
        self.flow = flow
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
    """Jobs with queued rows, in the order of their turns; `max_rows` limits them as `QueuePlaces` does.

    `packs`: the engine packs rows.
    """

    def __init__(self, max_rows: int = sys.maxsize, *, packs: bool = False) -> None:
        self._packs = packs
        self._jobs: dict[Flow, dict[Job, None]] = {}  # ordered sets
        self._shares = FlowShares()
        self.places = QueuePlaces(max_rows)
        self._active_at: dict[Flow, float] = {}  # of the last RECENT_S
        self.jobs = 0

    def __len__(self) -> int:
        return len(self.places)

    def add(self, job: Job) -> None:
        """Put a job at the end of those of its flow."""
        self._shares.join(job.flow)
        self._active_at[job.flow] = job.queued_at
        self._jobs.setdefault(job.flow, {})[job] = None
        self.jobs += 1
        self.places.take(job.flow, len(job.pending))

    def drop(self, job: Job) -> None:
        """Remove the queued rows of `job`, if it is queued."""
        if job in self._jobs.get(job.flow, ()):
            self.places.give_back(job.flow, len(job.pending))
            job.pending = []
            self._remove(job)

    def take(
        self, limit: int, fixed_tokens: float, short: Callable[[float], float] = lambda tokens: math.inf
    ) -> list[Pick]:
        """Remove and return the rows of the next forward: at least the first in turn.

        `fixed_tokens` is the cost of one more forward, in tokens. `short` returns the most padded tokens for
        a forward that begins with a row of so many, while one flow floods the queue.
        """
        window = [pick for _, pick in islice(self._shares.order(self._in_turn), limit * WINDOW)]
        max_tokens = float(limit * TOKENS_PER_ROW)
        if self.is_flooded():
            job, index = window[0]
            max_tokens = min(max_tokens, short(_cost(job.rows[index])))
        picks = window
        if len(window) > 1:
            picks = _similar(window, limit, fixed_tokens, max_tokens, packed=self._packs)
        taken: dict[Job, set[int]] = {}
        for job, index in picks:
            taken.setdefault(job, set()).add(index)
        for job, indices in taken.items():
            self._shares.charge(job.flow, sum(_cost(job.rows[index]) for index in indices))
            self.places.give_back(job.flow, len(indices))
            job.pending = [index for index in job.pending if index not in indices]
            jobs = self._jobs[job.flow]
            del jobs[job]
            jobs[job] = None
        for job in taken:
            if not job.pending:
                self._remove(job)
        return picks

    def is_flooded(self) -> bool:
        """Return whether one flow has most of the rows while others come and go."""
        since = time.perf_counter() - RECENT_S
        self._active_at = {
            flow: at for flow, at in self._active_at.items() if at > since or flow in self._jobs
        }
        busy = len(self._active_at) > 1 and len(self) >= MIN_FLOOD_ROWS
        return busy and self.places.largest_share() > MOST_ROWS

    def drain(self) -> list[Job]:
        """Remove and return every job."""
        jobs = [job for of_flow in self._jobs.values() for job in of_flow]
        for job in jobs:
            self.drop(job)
        return jobs

    def _remove(self, job: Job) -> None:
        jobs = self._jobs[job.flow]
        del jobs[job]
        self.jobs -= 1
        if not jobs:
            del self._jobs[job.flow]
            self._shares.leave(job.flow)

    def _in_turn(self, flow: Flow) -> Iterator[Costed[Pick]]:
        """Yield the first queued row of every job of a flow, then the second of every job that has one."""
        jobs = list(self._jobs[flow])
        for turn in count():
            jobs = [job for job in jobs if turn < len(job.pending)]
            if not jobs:
                return
            for job in jobs:
                index = job.pending[turn]
                yield _cost(job.rows[index]), (job, index)


def _cost(row: EngineRow) -> float:
    return float(max(len(row.row.input_ids), 1))


def padded_tokens(rows: int, tokens: int, longest: int, *, packed: bool) -> int:
    """Return the tokens that a forward computes for `rows` with so many in all, padding included.

    Packed rows fill sequences as long as the longest of them.
    """
    return -(-tokens // longest) * longest if packed else rows * longest


def _similar(
    window: Sequence[Pick], limit: int, fixed_tokens: float, max_tokens: float, *, packed: bool
) -> list[Pick]:
    """Choose up to `limit` rows of similar length to the first, which is always among them."""
    lengths = [len(job.rows[index].row.input_ids) for job, index in window]
    alike = SHORT_ROW_TOKENS if packed else 0
    sizes = [max(length, alike) for length in lengths]
    order = sorted(range(1, len(window)), key=lambda place: abs(sizes[place] - sizes[0]))
    chosen, longest, tokens = [0], lengths[0], lengths[0]
    for place in order:
        if len(chosen) == limit:
            break
        total = tokens + lengths[place]
        padded = padded_tokens(len(chosen) + 1, total, max(longest, lengths[place]), packed=packed)
        # Two forwards would have about half the padding of one.
        wasted = (padded - total) / 2
        if padded > max_tokens or wasted > fixed_tokens:
            continue
        chosen.append(place)
        longest, tokens = max(longest, lengths[place]), total
    return [window[place] for place in sorted(chosen)]
