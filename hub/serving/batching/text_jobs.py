"""Jobs whose rows generate text; the engine's own loop runs them, so that no forward waits for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hub.api import Output
from hub.engine.protocol import Engine, EngineRow, Generating
from hub.errors import EngineFailed, HubError, NotReady, Overloaded
from hub.serving.batching.fair_queue import Job
from hub.serving.batching.places import QueuePlaces

__all__ = ["TextJobs"]

log = logging.getLogger(__name__)


class TextJobs:
    """Starts the rows of a job at once, and finishes the job when all of them have ended.

    `finish` receives a settled job, in the thread of the engine's loop or of `submit`.
    """

    def __init__(self, engine: Engine, *, max_rows: int, finish: Callable[[Sequence[Job]], None]) -> None:
        self._engine = engine
        self._finish = finish
        self._lock = threading.Lock()
        self._jobs: dict[Job, list[Generating]] = {}
        self._places = QueuePlaces(max_rows)
        self._closed = False

    @property
    def rows(self) -> int:
        """The number of rows that wait or generate; each beam counts as a row."""
        return len(self._places)

    def submit(self, job: Job) -> Job:
        """Start the rows of a job.

        Raises:
            Overloaded: too many rows wait or generate.
            NotReady: the server is shutting down.
        """
        beams = sum(map(_beams, job.rows))
        with self._lock:
            if self._closed:
                raise NotReady("The server is shutting down. Send the request again.")
            if not self._places.fit(job.flow, beams):
                raise Overloaded(
                    f"{len(self._places)} texts or beams are being generated and the limit is "
                    f"{self._places.limit} "
                    "(limits.queued_rows). Send the request again later."
                )
            self._places.take(job.flow, beams)
            self._jobs[job] = []
            job.pending, job.running = [], len(job.rows)
            job.started_at = job.queued_at
        for index in range(len(job.rows)):
            self._begin(job, index)
        return job

    def cancel(self, job: Job) -> bool:
        """Cancel the rows of a job; False if it is unknown or has ended."""
        with self._lock:
            job.cancelled = True
            generating = self._jobs.get(job)
            rows = list(generating or ())
        for row in rows:
            row.cancel()
        return generating is not None

    def close(self) -> None:
        """Accept no more jobs; closing the engine ends the running ones."""
        with self._lock:
            self._closed = True

    def _begin(self, job: Job, index: int) -> None:
        if _is_cancelled(
            job
        ):  # while an earlier row was prepared, which takes seconds for some response formats
            self._ended(job, index, NotReady("The request was cancelled."))
            return
        try:
            row = self._engine.generate(
                replace(job.rows[index], flow=job.flow),
                partial(self._write, job, index),
                partial(self._ended, job, index),
            )
        except HubError as error:
            self._ended(job, index, error)
            return
        except Exception as error:  # of the engine, which may be a plugin's; the rows before it go on
            log.exception("A text could not be begun.")
            self._ended(job, index, EngineFailed(f"The engine failed ({type(error).__name__})."))
            return
        with self._lock:
            if job in self._jobs:
                self._jobs[job].append(row)
        if _is_cancelled(job):
            row.cancel()

    def _write(self, job: Job, index: int, piece: str) -> None:
        if job.listener and not job.cancelled:
            job.listener.write(index, piece)

    def _ended(self, job: Job, index: int, outcome: Output | HubError) -> None:
        job.outcomes[index] = outcome
        if job.listener and not job.cancelled and isinstance(outcome, Output):
            job.listener.end(index)
        with self._lock:
            job.running -= 1
            _note_times(job, self._jobs[job])
            self._places.give_back(job.flow, _beams(job.rows[index]))
            if job.running:
                return
            del self._jobs[job]
            job.engine_s = time.perf_counter() - job.started_at
            job.settled = True
        self._finish([job])


def _note_times(job: Job, rows: Sequence[Generating]) -> None:
    """Set when the first row of a job left the queue, and how long its rows were generated."""
    job.started_at = min((row.started_at for row in rows if row.started_at), default=job.queued_at)
    job.engine_s = time.perf_counter() - job.started_at


def _is_cancelled(job: Job) -> bool:
    return job.cancelled  # set by other threads


def _beams(row: EngineRow) -> int:
    return row.row.sampling.num_beams
