"""One thread per engine: whatever queued while a forward ran makes the next one.

There is no timer and no artificial wait: an idle engine starts at once on a single row, a busy one
finds a full batch when it is done. A forward that fails is run again in halves, down to single rows,
so that a row the engine cannot take fails its own caller and nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from hub.api import HeadKind
from hub.engine.protocol import Engine, EngineRow
from hub.errors import EngineFailed, HubError, NotReady, Overloaded
from hub.serving.batching.cost import ForwardCost
from hub.serving.batching.fair_queue import FairQueue, Job, Pick
from hub.serving.batching.text_jobs import TextJobs
from hub.serving.meter import Meter, NoMeter

__all__ = ["Batcher"]

log = logging.getLogger(__name__)


def _nobody(jobs: Sequence[Job]) -> None:
    return


class Batcher:
    """Runs submitted rows on `engine`, many callers' in one forward.

    `deliver` is given the jobs that a forward completed, all at once, in the engine's thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        batch_rows: int,
        queued_rows: int,
        deliver: Callable[[Sequence[Job]], None] = _nobody,
        meter: Meter | None = None,
    ) -> None:
        self._engine = engine
        self._name = name
        self._batch_rows = batch_rows
        self._queued_rows = queued_rows
        self._deliver = deliver
        self._meter = meter or NoMeter()
        self._queue = FairQueue()
        self._texts = TextJobs(engine, max_rows=queued_rows, finish=self._finish)
        self._cost = ForwardCost()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=f"engine-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that no forward has taken yet, and rows that generate."""
        return len(self._queue) + self._texts.rows

    def submit(
        self,
        rows: Sequence[EngineRow],
        on_settled: Callable[[], None],
        waiter: object,
        beside: Job | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Job:
        """Queue a call's rows (at least one); its job is handed to `deliver` when all have run.

        The job `beside` is queued at the same moment, so that one forward takes both. `on_text` receives the
        pieces of a text that is generated from the only row, in the engine's thread.

        Raises:
            Overloaded: too many rows wait already; `on_settled` is not called then.
            NotReady: the batcher is closed.
        """
        job = Job(rows, on_settled, waiter)
        job.on_text = on_text
        if self._engine.streams and rows[0].head is HeadKind.GENERATE:
            return self._write(job, beside)
        return self._add(job, beside)

    def cancel(self, job: Job) -> None:
        """Drop the rows of `job` that wait; those in a forward run on, and nobody hears of them."""
        if self._texts.cancel(job):
            return
        with self._changed:
            job.cancelled = True
            self._queue.drop(job)
            settled = _settle(job)
        if settled:
            job.on_settled()

    def close(self) -> None:
        """Fail the jobs that wait, let the forward in progress end, stop the thread."""
        with self._changed:
            self._closed = True
            self._texts.close()
            jobs = self._queue.drain()
            self._changed.notify()
        gone = NotReady("The server is shutting down. Send the request again.")
        for job in jobs:
            job.outcomes = [outcome or gone for outcome in job.outcomes]
        self._finish([job for job in jobs if _settle(job)])
        self._thread.join()

    def _write(self, job: Job, beside: Job | None) -> Job:
        self._texts.submit(job)
        if beside:
            try:
                self._texts.submit(beside)
            except HubError as error:
                beside.outcomes = [error] * len(beside.rows)
                self._finish([beside])
        return job

    def _add(self, job: Job, beside: Job | None = None) -> Job:
        with self._changed:
            if self._closed:
                raise NotReady("The server is shutting down. Send the request again.")
            if self._queue and len(self._queue) + len(job.rows) > self._queued_rows:
                raise Overloaded(
                    f"{len(self._queue)} rows wait for the engine and the limit is {self._queued_rows} "
                    "(limits.queued_rows). Send the request again later."
                )
            self._queue.add(job)
            if beside:
                self._queue.add(beside)
            self._changed.notify()
        return job

    def _loop(self) -> None:
        while picks := self._next():
            self._run(picks)
            with self._changed:
                for job, _ in picks:
                    job.running -= 1
                settled = [job for job in dict.fromkeys(job for job, _ in picks) if _settle(job)]
            self._finish(settled)

    def _next(self) -> list[Pick]:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            picks = self._queue.take(self._batch_rows, self._cost.fixed_tokens) if self._queue else []
            for job, _ in picks:
                job.running += 1
            return picks

    def _run(self, picks: Sequence[Pick], *, again: bool = False) -> None:
        began = time.perf_counter()
        jobs = dict.fromkeys(job for job, _ in picks)
        for job in jobs:
            job.started_at = job.started_at or began
        try:
            outputs = self._engine.run([job.rows[index] for job, index in picks])
            if len(outputs) != len(picks):
                raise EngineFailed(f"The engine gave {len(outputs)} answers to {len(picks)} rows.")
        except Exception as error:
            if not again:  # once a forward: all its rows may fail alike
                log.error("A forward of %d rows on %s failed.", len(picks), self._name, exc_info=error)
            self._failed(picks, error)
            return
        took = time.perf_counter() - began
        self._cost.note(_padded(picks), took)
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
        if heard := [job for job in settled if not job.cancelled and job.waiter is not None]:
            self._deliver(heard)


def _padded(picks: Sequence[Pick]) -> int:
    """Return the tokens of a forward, padding included."""
    return len(picks) * max(len(job.rows[index].row.input_ids) for job, index in picks)


def _settle(job: Job) -> bool:
    """Mark a job that neither waits nor runs as settled; True the first time. Call under the lock."""
    if job.settled or job.pending or job.running:
        return False
    job.settled = True
    return True
