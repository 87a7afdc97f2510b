"""The pipeline of a call: encode in a thread of its task, run in a shared forward, decode in such a thread.

Each stage passes the call on to the next; the event loop is woken once per call, when its answers are ready.
A second version, such as a shadow, may run beside the one that answers, in the same forward. It delays the
caller by its encoding and its rows' share of the forward; its result never reaches the caller.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from hub.api import Row, Task
from hub.config import LimitSettings
from hub.engine.protocol import EngineRow
from hub.errors import DeadlineExceeded, HubError, Overloaded, TooLarge, log_fault
from hub.registry.host import LoadedTask
from hub.serving.batching.base_workers import encode_threads
from hub.serving.batching.fair_queue import Job
from hub.serving.canary.grading import agree
from hub.serving.meter import Meter
from hub.serving.observation import Observer
from hub.serving.plugins.pool import PluginPool
from hub.serving.plugins.threads import Stage, TaskThreads, ThreadState, Work
from hub.serving.requests.call import Call, CallAnswers, CallObserver, Side, usage_of
from hub.serving.requests.codec import Answered, Outcome, Request, encode, fault
from hub.serving.routing.router import Admission

__all__ = ["CallAnswers", "Pipeline"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

VALIDATION = "validation of a request"
MAX_QUEUE_BESIDE = 0.75  # of limits.queued_rows: with longer queues no second version runs


class Pipeline:
    """Answers admitted calls on one event loop; `observer` receives the requests that it wants.

    `plugin_of` returns the name of the plugin that provides a task.
    """

    def __init__(
        self,
        limits: LimitSettings,
        loop: asyncio.AbstractEventLoop,
        observer: Observer | None = None,
        *,
        plugin_of: Callable[[str], str] = str,
        meter: Meter | None = None,
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._observer = observer
        self._joining = threading.Lock()
        self._pool = PluginPool(limits.plugin_timeout_s, encode_threads(), plugin_of, meter)

    async def run(
        self,
        admission: Admission,
        requests: Sequence[Request],
        *,
        request_id: str = "",
        on_text: Callable[[str], None] | None = None,
    ) -> CallAnswers:
        """Answer requests that share one admission; a failing request does not fail the others.

        The slots stay leased until no row of the call is queued or running, also if it is cancelled.
        `on_text` is called on the event loop with each piece of a text that is generated from a single row.

        Raises:
            TooLarge: together they need more rows than a call may have.
            Overloaded: too many calls or rows are in progress.
            PluginTimeout: the plugin's code did not end in time.
            PluginSuspended: too many calls hang in the plugin's code.
            NotReady: the server is shutting down.
        """
        if self._observer is None or not self._observer.wants(admission.route.deployment):
            return await self._run(admission, requests, None, on_text)
        call_observer = CallObserver(self._observer, admission, requests, request_id)
        try:
            return await self._run(admission, requests, call_observer, on_text)
        except HubError as error:
            call_observer.failed(error.code)
            raise
        except asyncio.CancelledError as error:
            # `Deadline` passes the error to Task.cancel, which puts it into the args of CancelledError.
            late = any(isinstance(reason, DeadlineExceeded) for reason in error.args)
            call_observer.failed(DeadlineExceeded.code if late else "cancelled")
            raise

    async def stream(
        self, admission: Admission, request: Request, *, request_id: str = ""
    ) -> AsyncGenerator[str | CallAnswers]:
        """Answer one request: yields the pieces of its text as they are generated, then the answer.

        A task that generates no text, or from several rows, has no pieces. Closing the generator cancels the
        call.

        Raises: as `run`, and the error of the request.
        """
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        running = self._loop.create_task(
            self.run(admission, [request], request_id=request_id, on_text=pieces.put_nowait)
        )
        running.add_done_callback(lambda task: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield await running
        finally:
            running.cancel()

    async def _run(
        self,
        admission: Admission,
        requests: Sequence[Request],
        call_observer: CallObserver | None,
        on_text: Callable[[str], None] | None,
    ) -> CallAnswers:
        threads = self._pool.of(admission.route.task.spec.name)
        trial = self._admit(threads, len(requests))
        call = Call(admission, requests, self._loop.create_future(), call_observer, threads, trial)
        call.on_text = on_text
        if call_observer is None or threads.stuck:  # optional work must not risk more threads
            call.drop_beside()
        answers: CallAnswers | None = None
        try:
            threads.submit(self._encode(call))
            answers = await call.waiter
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            threads.requests -= len(requests)
            if trial:
                threads.end_trial(answers is not None and answers.any_answered)
        if call_observer and not call.beside:
            call_observer.answered(answers.items)
        return answers

    def _admit(self, threads: TaskThreads, requests: int) -> bool:
        """Count the requests of a call; True if it is the trial of a suspended task.

        Each request has at least one row, so the limit of queued rows also limits requests.

        Raises:
            Overloaded: too many requests are being answered.
            PluginSuspended: the task is suspended.
        """
        limit = self._limits.queued_rows
        if threads.requests and threads.requests + requests > limit:
            raise Overloaded(
                f"{threads.requests} requests of this task are being answered and the limit is {limit} "
                "(limits.queued_rows). Send the request again later."
            )
        trial = threads.admit()
        threads.requests += requests
        return trial

    async def encode(self, admission: Admission, request: BaseModel) -> list[Row]:
        """Encode a request for the admitted version as `run` does, without running its rows.

        Raises:
            TooLarge, Overloaded, PluginTimeout, PluginSuspended, PluginFailed: as `run`.
        """
        task, held = admission.route.task, admission.held
        plugin = self._pool.of(task.spec.name).plugin

        def rows() -> list[EngineRow]:
            with held.base_worker.tokenizers.borrow() as tokenizer:
                (encoded,) = encode(task, plugin, held, [request], tokenizer)
            if isinstance(encoded, HubError):
                raise encoded
            return encoded

        return [row.row for row in self._checked(await self.read(task, rows, "encode"))]

    async def read(self, task: LoadedTask, call: Callable[[], Result], step: str = VALIDATION) -> Result:
        """Call plugin code in a thread of the task, under its time limit.

        Raises:
            PluginTimeout, PluginSuspended, PluginFailed: as `run`; and any HubError of `call`.
        """
        threads = self._pool.of(task.spec.name)
        trial = self._admit(threads, 1)
        waiter: asyncio.Future[Result] = self._loop.create_future()
        returned = False
        try:
            threads.submit(self._read(task, threads, call, waiter, step))
            result = await waiter
            returned = True
        finally:
            threads.requests -= 1
            if trial:
                threads.end_trial(returned)
        return result

    def _read(
        self,
        task: LoadedTask,
        threads: TaskThreads,
        call: Callable[[], Result],
        waiter: asyncio.Future[Result],
        step: str,
    ) -> Work:
        try:
            result: Result = yield Stage(step, call)
        except HubError as error:
            self._notify(_settle, waiter, error)
        except Exception as error:
            self._notify(_settle, waiter, fault(task, threads.plugin, step, error))
        else:
            self._notify(_settle, waiter, None, result)

    def forwarded(self, jobs: Sequence[Job]) -> None:
        """Receive the finished jobs of a forward, in the thread of the batcher."""
        sides: dict[TaskThreads, list[Side]] = {}
        for job in jobs:
            if isinstance(job.waiter, Side):
                job.waiter.job = job  # the submitting thread may not have stored it yet
                sides.setdefault(job.waiter.call.threads, []).append(job.waiter)
        for threads, of_task in sides.items():
            threads.submit(self._decode(threads, deque(of_task)))

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

    def _encode(self, call: Call) -> Work:
        main = call.main
        try:
            rows = self._checked((yield main.encode()))
            extra: list[EngineRow] = []
            if rows and call.beside:
                extra = yield from self._beside(call.beside, len(rows))
            if rows and not call.cancelled:
                self._submit(call, rows, extra)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = fault(call.task, call.threads.plugin, "encode", error)
        if main.job is None:
            call.drop_beside()
            main.held.lease.release()
            yield from self._decode(call.threads, deque([main]))
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
            call.drop_beside()
        try:
            self._queue(call.main, rows)
        except HubError:
            call.beside = None
            beside.cancel()
            raise

    def _queue(self, side: Side, rows: list[EngineRow], beside: Job | None = None) -> None:
        on_text = side.call.on_text if side is side.call.main and len(rows) == 1 else None
        notify = partial(self._notify, on_text) if on_text else None
        side.job = side.held.base_worker.batcher.submit(
            rows, side.held.lease.release, side, beside, on_text=notify
        )

    def _beside(self, side: Side, rows: int) -> Generator[Stage, list[EngineRow], list[EngineRow]]:
        """Encode the rows that run beside `rows` rows of the caller; none on failure or if too many."""
        try:
            extra = yield side.encode(optional=True)
        except Exception as error:
            log_fault(log, f"{side.held.target.version.ref} could not run beside", error)
            return []
        waiting = side.held.base_worker.batcher.waiting + rows + len(extra)
        fits = len(extra) <= self._limits.rows and waiting <= MAX_QUEUE_BESIDE * self._limits.queued_rows
        return extra if fits else []

    def _decode(self, threads: TaskThreads, pending: deque[Side]) -> Work:
        """Decode the calls of one task and answer each as soon as it is decoded; then compare.

        If one takes long, another thread continues with the `pending` ones.
        """
        taken: list[Side] = []
        while side := _pop(pending):
            taken.append(side)
            call = side.call
            if side is call.main:
                if call.answers is None and not call.cancelled:
                    yield from self._answer(call, partial(self._continue_elsewhere, threads, pending))
                self._notify(_wake, call)
        for side in taken:
            if beside := side.call.beside:
                yield from self._join(side, beside)

    def _continue_elsewhere(self, threads: TaskThreads, pending: deque[Side]) -> None:
        """Decode the other calls in another thread."""
        if pending:
            threads.submit(self._decode(threads, pending))

    def _answer(self, call: Call, on_slow: Callable[[], None]) -> Work:
        threads, job = call.threads, call.main.job
        if threads.suspended and not call.trial:
            call.answers = threads.refusal()
            return
        try:
            answered: list[Answered] = yield Stage("decode", call.main.items, slow=on_slow)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = fault(call.task, threads.plugin, "decode", error)
        else:
            items, bodies = [one.outcome for one in answered], [one.body for one in answered]
            queue_s, engine_s = (job.queue_s, job.engine_s) if job else (0.0, 0.0)
            usage = usage_of(job.outcomes) if job else None
            call.answers = CallAnswers(items, bodies, queue_s, engine_s, usage)

    def _join(self, side: Side, beside: Side) -> Work:
        """Compare the two versions of a call, in the thread of the one that ends last."""
        call = side.call
        with self._joining:
            side.done = True
            last = call.main.done and beside.done
        if (
            not last
            or call.cancelled
            or call.call_observer is None
            or not isinstance(call.answers, CallAnswers)
        ):
            return
        items = call.answers.items
        agreed: list[bool | None] = [None] * len(items)
        if not call.threads.stuck:
            try:
                agreed = yield Stage("decode", partial(_compare, items, beside), optional=True)
            except Exception as error:
                log_fault(log, f"{beside.held.target.version.ref} could not be compared", error)
        self._notify(call.call_observer.answered, items, beside.held.target.version, agreed)

    def _notify(self, callback: Callable[..., object], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.info("An answer was ready after the server had stopped.")


def _settle(waiter: asyncio.Future[Result], error: HubError | None, result: Any = None) -> None:
    if waiter.done():
        return
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)


def _pop(queue: deque[Item]) -> Item | None:
    """Remove and return the first item; thread-safe."""
    try:
        return queue.popleft()
    except IndexError:
        return None


def _compare(items: Sequence[Outcome], beside: Side) -> list[bool | None]:
    task = beside.call.task.task
    return [_agreed(task, one, other.outcome) for one, other in zip(items, beside.items(), strict=True)]


def _agreed(task: Task[Any, Any], one: Outcome, other: Outcome) -> bool | None:
    if isinstance(one, HubError) or isinstance(other, HubError):
        return None
    try:
        return agree(task, one, other)
    except BaseException as error:  # a plugin's serializer may raise anything
        log_fault(log, "Two answers could not be compared", error)
        return None


def _wake(call: Call) -> None:
    if call.waiter.done():
        return
    if call.call_observer:
        call.call_observer.ended()
    if isinstance(call.answers, HubError):
        call.waiter.set_exception(call.answers)
    elif call.answers is not None:
        call.waiter.set_result(call.answers)
