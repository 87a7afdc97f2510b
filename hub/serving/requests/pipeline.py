"""The pipeline of a call: encode in a thread of its task, run in a shared forward, decode in such a thread.

Each stage passes the call on to the next; the event loop is woken once per call, when its answers are ready.
A second version, such as a shadow, may run beside the one that answers, in the same forward. It delays the
caller by its encoding and its rows' share of the forward; its result never reaches the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from pydantic import BaseModel

from hub.api import Row
from hub.config import LimitSettings
from hub.engine.protocol import EngineRow
from hub.errors import HubError, TooLarge
from hub.registry.host import LoadedTask
from hub.serving.batching.base_workers import encode_threads
from hub.serving.batching.fair_queue import Job, TextListener
from hub.serving.meter import Meter
from hub.serving.observation import Observer
from hub.serving.plugins.own_copies import own_info
from hub.serving.plugins.pool import PluginPool
from hub.serving.plugins.stages import Work
from hub.serving.plugins.threads import ThreadState
from hub.serving.requests.answer_parts import AnswerParts, UnchangedText
from hub.serving.requests.beside import BesideRuns
from hub.serving.requests.call import Call, Side
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.call_observer import observing
from hub.serving.requests.codec import Request, encode, fault, own_requests
from hub.serving.requests.decode_stage import DecodeStage
from hub.serving.requests.plugin_calls import VALIDATION, PluginCalls
from hub.serving.requests.together import EncodedCall, Seat, Together
from hub.serving.routing.router import Admission

__all__ = ["CallAnswers", "Pipeline"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Pipeline:
    """Answers admitted calls on one event loop; `observer` receives the requests that it wants.

    `events` receives every request, also of versions that callers chose. `plugin_of` returns the name of the
    plugin that provides a task.
    """

    def __init__(
        self,
        limits: LimitSettings,
        loop: asyncio.AbstractEventLoop,
        observer: Observer | None = None,
        *,
        events: Observer | None = None,
        plugin_of: Callable[[str], str] = str,
        meter: Meter | None = None,
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._observer = observer
        self._events = events
        self._pool = PluginPool(
            limits.plugin_timeout_s, encode_threads(), plugin_of, meter, limits.plugin_memory_mb
        )
        self._calls = PluginCalls(limits, loop, self._pool, self._notify)
        self._beside = BesideRuns(limits, self._notify)
        self._decoding = DecodeStage(self._beside, self._notify)

    async def run(
        self, admission: Admission, requests: Sequence[Request], *, request_id: str = ""
    ) -> CallAnswers:
        """Answer requests that share one admission; a failing request does not fail the others.

        The slots stay leased until no row of the call is queued or running, also if it is cancelled.

        Raises:
            TooLarge: together they need more rows than a call may have.
            Overloaded: too many calls or rows are in progress.
            PluginTimeout: the plugin's code did not end in time.
            PluginSuspended: too many calls hang in the plugin's code.
            NotReady: the server is shutting down.
        """
        return await self._run(admission, requests, request_id)

    async def run_each(
        self, admissions: Sequence[Admission], requests: Sequence[Request], *, request_id: str = ""
    ) -> list[CallAnswers | HubError]:
        """Answer one request by each admission; as `run_together`."""
        return await self.run_together(admissions, [[one] for one in requests], request_id=request_id)

    async def run_together(
        self, admissions: Sequence[Admission], requests: Sequence[Sequence[Request]], *, request_id: str = ""
    ) -> list[CallAnswers | HubError]:
        """Answer the requests of each admission, with all their rows in one queue of each base.

        A text that several of them tokenize in the same way is tokenized once. What `run` raises for one of
        them is returned in its place.
        """
        together = Together(len(admissions))

        def run(place: int) -> Awaitable[CallAnswers]:
            named = request_id and f"{request_id}.{place}"
            return self._run(admissions[place], requests[place], named, seat=Seat(together, place))

        return await together.run(run)

    async def stream(
        self, admission: Admission, request: Request, *, request_id: str = ""
    ) -> AsyncGenerator[str | CallAnswers]:
        """Answer one request: yields the parts of its text as they are generated, then the answer.

        A task that generates no text, or does not stream that of several rows, has no parts. Closing the
        generator cancels the call.

        Raises: as `run`, and the error of the request.
        """
        parts: asyncio.Queue[str | None] = asyncio.Queue()
        running = self._loop.create_task(self._run(admission, [request], request_id, parts.put_nowait))
        running.add_done_callback(lambda task: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part
            yield await running
        finally:
            running.cancel()

    async def _run(
        self,
        admission: Admission,
        requests: Sequence[Request],
        request_id: str,
        on_text: Callable[[str], None] | None = None,
        seat: Seat | None = None,
    ) -> CallAnswers:
        """Run a call; `on_text` is called on the event loop with the parts of the only request's text."""
        threads = self._pool.of(admission.route.task.spec.name)
        flow = admission.account.flow(admission.route.name)
        with (
            observing(self._observer, admission, requests, request_id) as call_observer,
            observing(self._events, admission, requests, request_id, every=True) as told,
            self._calls.admitted(threads, len(requests), flow) as counted,
        ):
            waiter: asyncio.Future[CallAnswers] = self._loop.create_future()
            call = Call(admission, requests, waiter, call_observer, threads, flow, counted.trial)
            call.on_text = on_text
            call.tokens = seat and seat.tokens
            if call_observer is None or threads.stuck:  # optional work must not risk more threads
                call.drop_beside()
            try:
                threads.submit(self._encode(call, seat))
                answers = await waiter
            except asyncio.CancelledError:
                call.cancel()
                raise
            counted.answered = answers.any_answered
        if call_observer and not call.beside:
            call_observer.answered(answers.items)
        if told:
            told.ended()
            told.answered(answers.items)
        return answers

    async def encode(self, admission: Admission, request: BaseModel) -> list[Row]:
        """Encode a request for the admitted version as `run` does, without running its rows.

        Raises:
            TooLarge, Overloaded, PluginTimeout, PluginSuspended, PluginFailed: as `run`.
        """
        task, held = admission.route.task, admission.held
        faults = self._pool.of(task.spec.name).faults

        def rows() -> list[EngineRow]:
            with held.base_worker.tokenizers.borrow() as tokenizer:
                own, info = own_requests(task, faults, [request]), own_info(held.target.info)
                (encoded,) = encode(task, faults, held, own, tokenizer, info)
            if isinstance(encoded, HubError):
                raise encoded
            return encoded

        return [row.row for row in self._checked(await self.read(task, rows, "encode"))]

    async def read(self, task: LoadedTask, call: Callable[[], Result], step: str = VALIDATION) -> Result:
        """Call plugin code in a thread of the task, under its time limit; raises as `PluginCalls.read`."""
        return await self._calls.read(task, call, step)

    def forwarded(self, jobs: Sequence[Job]) -> None:
        """Receive the finished jobs of a forward, in the thread of the batcher."""
        self._decoding.forwarded(jobs)

    @property
    def pool(self) -> PluginPool:
        """The threads that run all plugin code."""
        return self._pool

    def hanging(self) -> list[ThreadState]:
        """Describe the tasks in whose plugin's code calls hang."""
        return self._pool.states()

    def drain(self) -> None:
        """Shorten the time limit of plugin code, because the server shuts down."""
        self._pool.drain()

    def close(self) -> None:
        """End the threads; those that hang in plugin code are abandoned."""
        self._pool.close()

    def _encode(self, call: Call, seat: Seat | None) -> Work:
        main = call.main
        encoded: EncodedCall | None = None
        try:
            rows = self._checked((yield main.encode()))
            if rows:
                call.account.charge(len(rows), sum(len(row.row.input_ids) for row in rows))
            extra: list[EngineRow] = []
            if rows and call.beside:
                extra = yield from self._beside.encode(call.beside, len(rows))
            if rows and not call.cancelled:
                if seat:
                    encoded = EncodedCall(call, rows, extra)
                else:
                    self._submit(call, rows, extra)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = fault(call.task, call.threads.faults, "encode", error)
        if seat:
            seat.arrive(encoded)
        if encoded:
            return
        if main.job is None:
            call.drop_beside()
            main.held.lease.release()
            yield from self._decoding.work(call.threads, deque([main]))
        elif call.cancelled:  # during encoding
            call.cancel()

    def _checked(self, rows: list[EngineRow]) -> list[EngineRow]:
        if len(rows) > self._limits.rows:
            raise TooLarge(
                f"The call needs {len(rows)} model rows and the limit is {self._limits.rows} (limits.rows). "
                "Send less text, or fewer items, at a time."
            )
        return rows

    def _submit(self, call: Call, rows: list[EngineRow], extra: list[EngineRow]) -> None:
        main, beside = call.main, call.beside
        if beside is None or not extra:
            call.drop_beside()
            self._queue(main, rows)
        elif beside.held.base_worker is main.held.base_worker:
            job = Job(extra, beside.held.lease.release, beside, call.flow)
            self._queue(main, rows, job)
            beside.job = job
        else:
            self._submit_apart(call, beside, rows, extra)

    def _submit_apart(self, call: Call, beside: Side, rows: list[EngineRow], extra: list[EngineRow]) -> None:
        """Queue two versions on different bases, which share no forward."""
        try:
            self._queue(beside, extra)
        except HubError:
            call.drop_beside()
        try:
            self._queue(call.main, rows)
        except HubError:
            call.beside = None
            beside.cancel()
            raise

    def _queue(self, side: Side, rows: list[EngineRow], beside: Job | None = None) -> None:
        side.job = side.held.base_worker.batcher.submit(
            rows,
            side.held.lease.release,
            side,
            beside,
            flow=side.call.flow,
            listener=self._listener(side.call, len(rows)) if side is side.call.main else None,
        )

    def _listener(self, call: Call, rows: int) -> TextListener | None:
        if call.on_text is None:
            return None
        send = partial(self._notify, call.on_text)
        if call.stream:
            return AnswerParts(call, call.stream, send, partial(self._fail, call))
        return UnchangedText(send) if rows == 1 else None

    def _fail(self, call: Call, error: HubError) -> None:
        """End a call with an error while its rows still run."""
        call.answers = error
        call.cancel()
        self._notify(call.wake)

    def _notify(self, callback: Callable[..., object], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.info("An answer was ready after the server had stopped.")
