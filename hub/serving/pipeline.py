"""The way of an admitted call: encode in a thread, a forward with everybody's rows, decode in a thread.

The stages hand a call on to one another; the event loop hears of it once, when the answers are there.
A second version may run beside the one that answers, in the same forward: a shadow. It costs the caller
its encoding and its rows' share of the forward; nothing that becomes of it reaches the caller.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hub.config import Limits
from hub.engine.protocol import EngineRow
from hub.errors import DeadlineExceeded, HubError, NotReady, Overloaded, TooLarge
from hub.serving.agreement import agree
from hub.serving.call import Answers, Call, Side
from hub.serving.faults import log_fault
from hub.serving.lanes import encode_threads
from hub.serving.observe import NoObserver, Observer
from hub.serving.queue import Job
from hub.serving.router import Admission
from hub.serving.steps import Outcome, Request, fault
from hub.serving.witness import Witness

__all__ = ["Answers", "Pipeline"]

log = logging.getLogger(__name__)

SPARE = 0.75  # of limits.queued_rows: beyond, nothing runs beside others


class Pipeline:
    """Answers admitted calls on one event loop; `observer` hears of those it wants."""

    def __init__(
        self, limits: Limits, loop: asyncio.AbstractEventLoop, observer: Observer | None = None
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._observer = observer or NoObserver()
        self._running = 0
        self._joining = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=encode_threads(), thread_name_prefix="task")

    async def run(
        self, admission: Admission, requests: Sequence[Request], *, request_id: str = ""
    ) -> Answers:
        """Answer requests that share one admission; an item that fails does not fail the others.

        The slots stay leased until no row of the call waits or runs any more, also if it is cancelled.

        Raises:
            TooLarge: together they need more rows than one call may.
            Overloaded: too many calls or rows are under way.
            NotReady: the server is shutting down.
        """
        if not self._observer.wants(admission.route.deployment):
            return await self._run(admission, requests, None)
        witness = Witness(self._observer, admission, requests, request_id)
        try:
            return await self._run(admission, requests, witness)
        except HubError as error:
            witness.failed(error.code)
            raise
        except asyncio.CancelledError as error:
            late = DeadlineExceeded.code in error.args
            witness.failed(DeadlineExceeded.code if late else "cancelled")
            raise

    async def _run(
        self, admission: Admission, requests: Sequence[Request], witness: Witness | None
    ) -> Answers:
        if self._running >= self._limits.queued_rows:
            raise Overloaded(f"{self._running} calls are under way already. Send the request again later.")
        call = Call(admission, requests, self._loop.create_future(), witness)
        if witness is None:
            call.go_alone()
        try:
            self._threads.submit(self._encode, call)
        except RuntimeError:
            call.go_alone()
            call.main.held.lease.release()
            raise NotReady("The server is shutting down. Send the request again.") from None
        self._running += 1
        try:
            answers = await call.waiter
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            self._running -= 1
        if witness and not call.beside:
            witness.answered(answers.items)
        return answers

    def forwarded(self, jobs: Sequence[Job]) -> None:
        """Take the jobs of a forward from a batcher, in its thread."""
        sides = []
        for job in jobs:
            if isinstance(job.waiter, Side):
                job.waiter.job = job  # whoever submitted it may not have come to note it yet
                sides.append(job.waiter)
        try:
            self._threads.submit(self._decode, sides)
        except RuntimeError:
            log.info("%d answers came after the server had stopped.", len(sides))

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _encode(self, call: Call) -> None:
        main = call.main
        try:
            rows = [] if call.cancelled else self._rows(call)
            if rows:
                self._submit(call, rows)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = fault(call.task, "encode", error)
        if main.job is None:
            call.go_alone()
            main.held.lease.release()
            self._decode([main])
        elif call.cancelled:  # while it was being encoded
            call.cancel()

    def _rows(self, call: Call) -> list[EngineRow]:
        rows = call.main.rows()
        if len(rows) > self._limits.rows:
            raise TooLarge(
                f"The call needs {len(rows)} model rows and the limit is {self._limits.rows} (limits.rows). "
                "Send less text, or fewer items, at a time."
            )
        return rows

    def _submit(self, call: Call, rows: list[EngineRow]) -> None:
        main, beside = call.main, call.beside
        extra = self._beside(beside, len(rows)) if beside else []
        if beside is None or not extra:
            call.go_alone()
            self._queue(main, rows)
        elif beside.held.lane is main.held.lane:
            job = Job(extra, beside.held.lease.release, beside)
            self._queue(main, rows, job)
            beside.job = job
        else:
            self._submit_apart(call, beside, rows, extra)

    def _submit_apart(self, call: Call, beside: Side, rows: list[EngineRow], extra: list[EngineRow]) -> None:
        """Queue two versions on different bases, which share no forward."""
        try:
            self._queue(beside, extra)
        except HubError:
            call.go_alone()
        try:
            self._queue(call.main, rows)
        except HubError:
            call.beside = None
            beside.cancel()
            raise

    def _queue(self, side: Side, rows: list[EngineRow], beside: Job | None = None) -> None:
        side.job = side.held.lane.batcher.submit(rows, side.held.lease.release, side, beside)

    def _beside(self, side: Side, rows: int) -> list[EngineRow]:
        """Encode what is to run beside `rows` rows of the caller; none if it cannot, or is too much."""
        try:
            extra = side.rows()
        except Exception as error:
            log_fault(log, f"{side.held.target.version.ref} could not run beside", error)
            return []
        waiting = side.held.lane.batcher.waiting + rows + len(extra)
        fits = len(extra) <= self._limits.rows and waiting <= SPARE * self._limits.queued_rows
        return extra if fits else []

    def _decode(self, sides: Sequence[Side]) -> None:
        calls = [side.call for side in sides if side is side.call.main]
        for call in calls:
            if call.answers is None and not call.cancelled:
                job = call.main.job
                items = call.main.items()
                call.answers = Answers(items, job.queue_s if job else 0.0, job.engine_s if job else 0.0)
        if calls:
            self._tell(_wake, calls)
        for side in sides:
            if beside := side.call.beside:
                self._join(side, beside)

    def _join(self, side: Side, beside: Side) -> None:
        """Compare the two versions of a call, in the thread of the one that is last."""
        call = side.call
        with self._joining:
            side.done = True
            last = call.main.done and beside.done
        if not last or call.cancelled or call.witness is None or not isinstance(call.answers, Answers):
            return
        items = call.answers.items
        agreed = [_agreed(one, other) for one, other in zip(items, beside.items(), strict=True)]
        self._tell(call.witness.answered, items, beside.held.target.version, agreed)

    def _tell(self, hear: Callable[..., object], *what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(hear, *what)
        except RuntimeError:
            log.info("An answer came after the server had stopped.")


def _agreed(one: Outcome, other: Outcome) -> bool | None:
    if isinstance(one, HubError) or isinstance(other, HubError):
        return None
    try:
        return agree(one, other)
    except Exception as error:
        log_fault(log, "Two answers could not be compared", error)
        return None


def _wake(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.waiter.done():
            continue
        if call.witness:
            call.witness.ended()
        if isinstance(call.answers, HubError):
            call.waiter.set_exception(call.answers)
        elif call.answers is not None:
            call.waiter.set_result(call.answers)
