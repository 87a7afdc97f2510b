"""The way of an admitted call: encode in a thread, a forward with everybody's rows, decode in a thread.

The stages hand a call on to one another; the event loop hears of it once, when the answers are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel

from hub.api import Output, Tokenizer
from hub.config import Limits
from hub.engine.protocol import EngineRow
from hub.engine.slots import Lease
from hub.errors import HubError, NotReady, Overloaded, TooLarge
from hub.serving.faults import log_fault
from hub.serving.lanes import Lane, encode_threads
from hub.serving.queue import Job
from hub.serving.router import Admission, Route

__all__ = ["Answers", "Pipeline"]

log = logging.getLogger(__name__)

Request = BaseModel | HubError  # an item that was refused already keeps its place
Encoded = list[EngineRow] | HubError


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of each request, in order, and where the time went."""

    items: Sequence[BaseModel | HubError]
    queue_s: float = 0.0
    engine_s: float = 0.0

    def only(self) -> BaseModel:
        """Return the answer of a call that held one request, or raise its error."""
        (item,) = self.items
        if isinstance(item, HubError):
            raise item
        return item


class _Call:
    """A call on its way; what a stage adds, the next one reads."""

    __slots__ = ("answers", "cancelled", "encoded", "job", "lane", "lease", "requests", "route", "waiter")

    def __init__(
        self, admission: Admission, requests: Sequence[Request], waiter: asyncio.Future[Answers]
    ) -> None:
        self.route = admission.route
        self.lane = admission.lane
        self.requests = requests
        self.waiter = waiter
        self.lease = admission.take()
        self.encoded: Sequence[Encoded] = ()
        self.job: Job | None = None
        self.answers: Answers | HubError | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Give the call up, whatever stage it is in."""
        self.cancelled = True
        if self.job:
            self.lane.batcher.cancel(self.job)


class Pipeline:
    """Answers admitted calls on one event loop."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._running = 0
        self._threads = ThreadPoolExecutor(max_workers=encode_threads(), thread_name_prefix="task")

    async def run(self, admission: Admission, requests: Sequence[Request]) -> Answers:
        """Answer requests that share one admission; an item that fails does not fail the others.

        The slot stays leased until no row of the call waits or runs any more, also if it is cancelled.

        Raises:
            TooLarge: together they need more rows than one call may.
            Overloaded: too many calls or rows are under way.
            NotReady: the server is shutting down.
        """
        if self._running >= self._limits.queued_rows:
            raise Overloaded(f"{self._running} calls are under way already. Send the request again later.")
        call = _Call(admission, requests, self._loop.create_future())
        try:
            self._threads.submit(self._encode, call)
        except RuntimeError:
            call.lease.release()
            raise NotReady("The server is shutting down. Send the request again.") from None
        self._running += 1
        try:
            return await call.waiter
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            self._running -= 1

    def forwarded(self, jobs: Sequence[Job]) -> None:
        """Take the jobs of a forward from a batcher, in its thread."""
        try:
            self._threads.submit(self._decode, [job.waiter for job in jobs if isinstance(job.waiter, _Call)])
        except RuntimeError:
            log.info("%d answers came after the server had stopped.", len(jobs))

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _encode(self, call: _Call) -> None:
        try:
            rows = [] if call.cancelled else self._rows(call)
            if rows:
                call.job = call.lane.batcher.submit(rows, call.lease.release, call)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = _fault(call.route, "encode", error)
        if call.job is None:
            call.lease.release()
            self._decode([call])
        elif call.cancelled:  # while it was being encoded
            call.lane.batcher.cancel(call.job)

    def _rows(self, call: _Call) -> list[EngineRow]:
        call.encoded = _encode(call.lane, call.lease, call.route, call.requests)
        rows = [row for item in call.encoded if not isinstance(item, HubError) for row in item]
        if len(rows) > self._limits.rows:
            raise TooLarge(
                f"The call needs {len(rows)} model rows and the limit is {self._limits.rows} (limits.rows). "
                "Send less text, or fewer items, at a time."
            )
        return rows

    def _decode(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            if call.answers is None and not call.cancelled:
                job = call.job
                items = _decode(call.route, call.requests, call.encoded, job.outcomes if job else ())
                call.answers = Answers(items, job.queue_s if job else 0.0, job.engine_s if job else 0.0)
        try:
            self._loop.call_soon_threadsafe(_wake, calls)
        except RuntimeError:
            log.info("%d answers came after the server had stopped.", len(calls))


def _wake(calls: Sequence[_Call]) -> None:
    for call in calls:
        if call.waiter.done():
            continue
        if isinstance(call.answers, HubError):
            call.waiter.set_exception(call.answers)
        elif call.answers is not None:
            call.waiter.set_result(call.answers)


def _encode(lane: Lane, lease: Lease, route: Route, requests: Sequence[Request]) -> list[Encoded]:
    with lane.tokenizers.borrow() as tokenizer:
        return [
            request if isinstance(request, HubError) else _rows(lane, lease, route, request, tokenizer)
            for request in requests
        ]


def _rows(lane: Lane, lease: Lease, route: Route, request: BaseModel, tokenizer: Tokenizer) -> Encoded:
    spec, base = route.task.spec, lane.base
    try:
        rows = route.task.task.encode(request, tokenizer, route.info)
    except HubError as error:
        return error
    except Exception as error:
        return _fault(route, "encode", error)
    if any(not 0 < len(row.input_ids) <= base.max_length for row in rows):
        return HubError(
            f"The task {spec.name!r} made a row that is empty or longer than the {base.max_length} tokens "
            f"that base {base.name!r} takes: a fault in the plugin."
        )
    return [EngineRow(row, lease.slot, spec.head) for row in rows]


def _decode(
    route: Route,
    requests: Sequence[Request],
    encoded: Sequence[Encoded],
    outcomes: Sequence[Output | HubError | None],
) -> list[BaseModel | HubError]:
    answers: list[BaseModel | HubError] = []
    at = 0
    for request, rows in zip(requests, encoded, strict=True):
        if isinstance(request, HubError):
            answers.append(request)
        elif isinstance(rows, HubError):
            answers.append(rows)
        else:
            answers.append(_answer(route, request, outcomes[at : at + len(rows)]))
            at += len(rows)
    return answers


def _answer(
    route: Route, request: BaseModel, outcomes: Sequence[Output | HubError | None]
) -> BaseModel | HubError:
    outputs: list[Output] = []
    for outcome in outcomes:
        if isinstance(outcome, HubError):
            return outcome
        assert outcome is not None, "a settled job has an outcome for every row"
        outputs.append(outcome)
    try:
        answer: BaseModel = route.task.task.decode(request, outputs, route.info)
    except HubError as error:
        return error
    except Exception as error:
        return _fault(route, "decode", error)
    return answer


def _fault(route: Route, step: str, error: Exception) -> HubError:
    name = route.task.spec.name
    log_fault(log, f"Task {name} failed in {step}", error)
    return HubError(
        f"The task {name!r} failed in {step} ({type(error).__name__}): a fault in the plugin. The server's "
        "log says where."
    )
