"""One thread per engine; the rows that queue up during a forward make the next one.

There is no timer and no artificial wait: an idle engine starts at once on a single row, and a busy one finds
a full batch afterwards. Only while one flow floods the queue does the engine rest between two forwards, so
that the threads which encode and decode for the others get a core; they would wait for a forward to end on a
machine whose cores the forwards fill. A failed forward is run again in halves, down to single rows, so that
a row that the engine rejects fails its own caller only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from hub.api import HeadKind
from hub.engine.protocol import Engine, EngineRow
from hub.engine.shares import Flow
from hub.errors import EngineFailed, HubError, NotReady, Overloaded
from hub.serving.batching.cost import ForwardCost
from hub.serving.batching.fair_queue import NOBODY, FairQueue, Job, Pick, TextListener, padded_tokens
from hub.serving.batching.text_jobs import TextJobs
from hub.serving.meter import Meter

__all__ = ["Batcher"]

log = logging.getLogger(__name__)

REST_SHARE = 0.05  # of the forward before it
MAX_REST_S = 0.0003


class Batcher:
    """Runs submitted rows on `engine`, those of many callers in one forward.

    `deliver` receives the jobs that a forward completed, all at once, in the engine's thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        batch_rows: int,
        queued_rows: int,
        deliver: Callable[[Sequence[Job]], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._engine = engine
        self._name = name
        self._batch_rows = batch_rows
        self._deliver = deliver
        self._meter = meter or Meter()
        self._queue = FairQueue(queued_rows, packs=engine.packs)
        self._texts = TextJobs(engine, max_rows=queued_rows, finish=self._finish)
        self._cost = ForwardCost()
        self._changed = threading.Condition()
        self._closed = False
        self.running_jobs = 0  # in the current forward
        self._thread = threading.Thread(target=self._loop, name=f"engine-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of rows that are queued or generate."""
        return len(self._queue) + self._texts.rows

    @property
    def queued_rows(self) -> int:
        """The number of rows that wait for a forward."""
        return len(self._queue)

    @property
    def queued_jobs(self) -> int:
        """The number of jobs with rows that wait for a forward."""
        return self._queue.jobs

    def submit(
        self,
        rows: Sequence[EngineRow],
        on_settled: Callable[[], None],
        waiter: object,
        beside: Job | None = None,
        *,
        flow: Flow = NOBODY,
        listener: TextListener | None = None,
    ) -> Job:
        """Queue a call's rows (at least one); `deliver` receives its job when all have run.

        The job `beside` is queued in the same step, so that one forward takes both. `listener` receives text
        while it is generated, if the engine streams.

        Raises:
            Overloaded: too many rows are queued, of this flow in particular; `on_settled` is not called then.
            NotReady: the batcher is closed.
        """
        job = Job(rows, on_settled, waiter, flow)
        job.listener = listener
        if self._writes_text(job):
            self._texts.submit(job)
            if beside:
                self._generate(beside)
        else:
            self._add([job, beside] if beside else [job], len(rows))
        return job

    def submit_all(self, jobs: Sequence[Job]) -> None:
        """Queue the jobs of several calls in one step, so that one forward takes their rows.

        Jobs that cannot be queued are delivered with the error as the outcome of each row.
        """
        texts = [job for job in jobs if self._writes_text(job)]
        others = [job for job in jobs if not self._writes_text(job)]
        try:
            self._add(others, sum(len(job.rows) for job in others))
        except HubError as error:
            for job in others:
                self._fail(job, error)
        for job in texts:
            self._generate(job)

    def cancel(self, job: Job) -> None:
        """Drop the queued rows of `job`; the results of those in a forward are discarded."""
        if self._texts.cancel(job):
            return
        with self._changed:
            job.cancelled = True
            self._queue.drop(job)
            settled = _settle(job)
        if settled:
            job.on_settled()

    def close(self) -> None:
        """Fail the queued jobs, wait for the forward in progress, and end the thread."""
        with self._changed:
            self._closed = True
            self._texts.close()
            jobs = self._queue.drain()
            self._changed.notify()
        error = NotReady("The server is shutting down. Send the request again.")
        for job in jobs:
            job.outcomes = [outcome or error for outcome in job.outcomes]
        self._finish([job for job in jobs if _settle(job)])
        self._thread.join()

    def _writes_text(self, job: Job) -> bool:
        return self._engine.streams and job.rows[0].head is HeadKind.GENERATE

    def _add(self, jobs: Sequence[Job], rows: int) -> None:
        """Queue jobs whose `rows` count towards the limit."""
        with self._changed:
            if self._closed:
                raise NotReady("The server is shutting down. Send the request again.")
            places = self._queue.places
            if not all(places.fit(job.flow, rows) for job in jobs):
                raise Overloaded(
                    f"{len(places)} rows wait for the engine and the limit is {places.limit} "
                    "(limits.queued_rows). Send the request again later."
                )
            for job in jobs:
                self._queue.add(job)
            self._changed.notify()

    def _generate(self, job: Job) -> None:
        """Start a job that generates text; it fails alone."""
        try:
            self._texts.submit(job)
        except HubError as error:
            self._fail(job, error)

    def _fail(self, job: Job, error: HubError) -> None:
        job.outcomes = [error] * len(job.rows)
        self._finish([job])

    def _loop(self) -> None:
        while picks := self._next():
            began = time.perf_counter()
            self._run(picks)
            took = time.perf_counter() - began
            self.running_jobs = 0
            with self._changed:
                flooded = self._queue.is_flooded()
                for job, _ in picks:
                    job.running -= 1
                settled = [job for job in dict.fromkeys(job for job, _ in picks) if _settle(job)]
            self._finish(settled)
            if flooded:
                time.sleep(min(took * REST_SHARE, MAX_REST_S))

    def _next(self) -> list[Pick]:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            cost, limit = self._cost, self._batch_rows
            picks = self._queue.take(limit, cost.fixed_tokens, cost.within_twice) if self._queue else []
            for job, _ in picks:
                job.running += 1
            return picks

    def _run(self, picks: Sequence[Pick], *, again: bool = False) -> None:
        began = time.perf_counter()
        jobs = dict.fromkeys(job for job, _ in picks)
        self.running_jobs = len(jobs)
        for job in jobs:
            job.started_at = job.started_at or began
        try:
            outputs = self._engine.run([job.rows[index] for job, index in picks])
            if len(outputs) != len(picks):
                raise EngineFailed(f"The engine gave {len(outputs)} answers to {len(picks)} rows.")
        except Exception as error:
            if not again:  # once per forward: all its rows may fail for the same reason
                log.error("A forward of %d rows on %s failed.", len(picks), self._name, exc_info=error)
            self._failed(picks, error)
            return
        took = time.perf_counter() - began
        self._cost.note(_tokens(picks, packed=self._engine.packs), took)
        for job in jobs:
            job.engine_s += took
        for (job, index), output in zip(picks, outputs, strict=True):
            job.outcomes[index] = output
        self._meter.batch(self._name, len(picks), took, len(self._queue))

    def _failed(self, picks: Sequence[Pick], error: Exception) -> None:
        if len(picks) > 1:
            self._meter.retry(self._name)
            middle = len(picks) // 2
            self._run(picks[:middle], again=True)
            self._run(picks[middle:], again=True)
            return
        job, index = picks[0]
        if not isinstance(error, HubError):
            error = EngineFailed(f"The engine failed ({type(error).__name__}).")
        job.outcomes[index] = error

    def _finish(self, settled: Sequence[Job]) -> None:
        for job in settled:
            job.on_settled()
        awaited = [job for job in settled if not job.cancelled and job.waiter is not None]
        if awaited and self._deliver:
            self._deliver(awaited)


def _tokens(picks: Sequence[Pick], *, packed: bool) -> int:
    """Return the tokens of a forward, padding included."""
    lengths = [len(job.rows[index].row.input_ids) for job, index in picks]
    return padded_tokens(len(lengths), sum(lengths), max(lengths), packed=packed)


def _settle(job: Job) -> bool:
    """Mark a job without queued or running rows as settled; True the first time. Call under the lock."""
    if job.settled or job.pending or job.running:
        return False
    job.settled = True
    return True
