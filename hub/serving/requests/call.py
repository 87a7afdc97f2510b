"""A call on its way through the pipeline: the version that answers it, and the one that runs beside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from hub.engine.protocol import EngineRow
from hub.errors import HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests.codec import Answered, Encoded, Outcome, Request, decode, encode
from hub.serving.requests.witness import Witness
from hub.serving.routing.router import Admission, Held

__all__ = ["Answers", "Call", "Side"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of each request, in order, and where the time went.

    `bodies` has the JSON of each answer, and b"" for an error.
    """

    items: Sequence[Outcome]
    bodies: Sequence[bytes]
    queue_s: float = 0.0
    engine_s: float = 0.0

    @property
    def any_answered(self) -> bool:
        """True unless every request became an error."""
        return any(isinstance(item, BaseModel) for item in self.items)

    def only(self) -> bytes:
        """Return the answer of a call that held one request as JSON, or raise its error."""
        (item,), (body,) = self.items, self.bodies
        if isinstance(item, HubError):
            raise item
        return body


class Side:
    """A version at work on a call: its rows, and the job that runs them."""

    __slots__ = ("call", "done", "encoded", "held", "job")

    def __init__(self, call: Call, held: Held) -> None:
        self.call = call
        self.held = held
        self.encoded: Sequence[Encoded] = ()
        self.job: Job | None = None
        self.done = False

    def rows(self) -> list[EngineRow]:
        """Encode, and return the rows of all requests; none if the call was cancelled before."""
        call = self.call
        if call.cancelled:
            return []
        self.encoded = encode(call.task, call.threads.plugin, self.held, call.requests)
        return [row for item in self.encoded if not isinstance(item, HubError) for row in item]

    def items(self) -> list[Answered]:
        """Decode what became of the rows."""
        call = self.call
        outcomes = self.job.outcomes if self.job else ()
        return decode(call.task, call.threads.plugin, self.held, call.requests, self.encoded, outcomes)

    def cancel(self) -> None:
        if self.job:
            self.held.lane.batcher.cancel(self.job)


class Call:
    """A call on its way; what a stage adds, the next one reads.

    `beside` is not changed any more once a row of the call is queued. A `trial` is let in while its task is
    suspended.
    """

    __slots__ = (
        "answers",
        "beside",
        "cancelled",
        "main",
        "requests",
        "task",
        "threads",
        "trial",
        "waiter",
        "witness",
    )

    def __init__(
        self,
        admission: Admission,
        requests: Sequence[Request],
        waiter: asyncio.Future[Answers],
        witness: Witness | None,
        threads: TaskThreads,
        trial: bool = False,
    ) -> None:
        main, beside = admission.take()
        self.task = admission.route.task
        self.threads = threads
        self.trial = trial
        self.requests = requests
        self.waiter = waiter
        self.witness = witness
        self.main = Side(self, main)
        self.beside = Side(self, beside) if beside else None
        self.answers: Answers | HubError | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Give the call up, whatever stage it is in."""
        self.cancelled = True
        self.main.cancel()
        if beside := self.beside:
            beside.cancel()

    def go_alone(self) -> None:
        """Run nothing beside."""
        beside, self.beside = self.beside, None
        if beside:
            beside.held.lease.release()
