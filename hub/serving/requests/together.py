"""Calls that answer one request together: their rows are queued in one step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from hub.engine.protocol import EngineRow
from hub.errors import HubError
from hub.serving.batching.base_workers import BaseWorker
from hub.serving.batching.fair_queue import Job
from hub.serving.requests.call import Call
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.shared_tokens import SharedTokens

__all__ = ["EncodedCall", "Seat", "Together"]


class EncodedCall(NamedTuple):
    """A call with its rows, and those of the version that runs beside it."""

    call: Call
    rows: list[EngineRow]
    beside: list[EngineRow]


class Together:
    """Collects the rows of `calls` calls and queues them when the last call has arrived.

    A call arrives once, under its place from 0, from any thread. Rows on one base are queued in one step, so
    that one forward takes as many of them as a batch holds.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._missing = set(range(calls))
        self._encoded: dict[int, EncodedCall] = {}
        self.tokens = SharedTokens()

    async def run(self, run: Callable[[int], Awaitable[CallAnswers]]) -> list[CallAnswers | HubError]:
        """Run the call of each place; a HubError is returned in its place."""

        async def answer(place: int) -> CallAnswers | HubError:
            try:
                return await run(place)
            except HubError as error:
                self.arrive(place)  # it may have failed before it was encoded
                return error

        try:
            return await asyncio.gather(*map(answer, range(self._calls)))
        finally:
            self.close()

    def arrive(self, place: int, encoded: EncodedCall | None = None) -> None:
        """Add the rows of a call; none if it has failed."""
        with self._lock:
            self._missing.discard(place)
            if encoded:
                self._encoded[place] = encoded
        self._queue()

    def close(self) -> None:
        """Wait for no further call: one may have been cancelled before it began."""
        with self._lock:
            self._missing.clear()
        self._queue()

    def _queue(self) -> None:
        with self._lock:
            if self._missing:
                return
            found, self._encoded = [call for _, call in sorted(self._encoded.items())], {}
        jobs: dict[BaseWorker, list[Job]] = {}
        for call, rows, beside in found:
            sides = [(call.main, rows), *([(call.beside, beside)] if call.beside and beside else [])]
            if call.cancelled or not beside:
                call.drop_beside()
            if call.cancelled:
                call.main.held.lease.release()
                continue
            for side, its_rows in sides:
                side.job = Job(its_rows, side.held.lease.release, side, call.flow)
                jobs.setdefault(side.held.base_worker, []).append(side.job)
        for base_worker, queued in jobs.items():
            base_worker.batcher.submit_all(queued)
        for call, _, _ in found:
            if call.cancelled:  # meanwhile
                call.cancel()


class Seat(NamedTuple):
    """The place of one call among those that are answered together."""

    together: Together
    place: int

    @property
    def tokens(self) -> SharedTokens:
        return self.together.tokens

    def arrive(self, encoded: EncodedCall | None = None) -> None:
        """Add the rows of the call; none if it has failed."""
        self.together.arrive(self.place, encoded)
