"""The way of an admitted call: encode in a thread, one forward with everybody's rows, decode in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel

from hub.api import Output
from hub.config import Limits
from hub.engine.protocol import EngineRow
from hub.errors import HubError, TooLarge
from hub.serving.faults import log_fault
from hub.serving.queue import Job
from hub.serving.router import Admission

__all__ = ["Answers", "Pipeline", "deliver_to"]

log = logging.getLogger(__name__)

Request = BaseModel | HubError  # an item that was refused already keeps its place
Encoded = list[EngineRow] | HubError


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of each request, in order, and where the time went."""

    items: Sequence[BaseModel | HubError]
    queue_s: float
    engine_s: float

    def only(self) -> BaseModel:
        """Return the answer of a call that held one request, or raise its error."""
        (item,) = self.items
        if isinstance(item, HubError):
            raise item
        return item


class Pipeline:
    """Answers admitted requests; used from one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        workers = min(max(os.cpu_count() or 1, 2), 8)
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="task")

    async def run(self, admission: Admission, requests: Sequence[Request]) -> Answers:
        """Answer requests that share one admission; an item that fails does not fail the others.

        Raises:
            TooLarge: together they need more rows than one call may.
            Overloaded: the engine's queue is full.
        """
        with admission:
            loop = asyncio.get_running_loop()
            encoded = await loop.run_in_executor(self._threads, _encode, admission, requests)
            rows = [row for item in encoded if not isinstance(item, HubError) for row in item]
            if len(rows) > self._limits.rows:
                raise TooLarge(
                    f"The call needs {len(rows)} model rows and the limit is {self._limits.rows} "
                    "(limits.rows). Send less text, or fewer items, at a time."
                )
            job = await _forward(admission, rows) if rows else None
            outcomes = job.outcomes if job else []
            items = await loop.run_in_executor(self._threads, _decode, admission, requests, encoded, outcomes)
            return Answers(items, job.queue_s if job else 0.0, job.engine_s if job else 0.0)

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def deliver_to(loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[Job]], None]:
    """Return what hands finished jobs to the callers on `loop`, waking it once for all of a forward."""

    def deliver(jobs: Sequence[Job]) -> None:
        try:
            loop.call_soon_threadsafe(_wake, jobs)
        except RuntimeError:
            log.info("%d answers came after the server had stopped.", len(jobs))

    return deliver


def _wake(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if isinstance(job.waiter, asyncio.Future) and not job.waiter.done():
            job.waiter.set_result(None)


async def _forward(admission: Admission, rows: Sequence[EngineRow]) -> Job:
    waiter = asyncio.get_running_loop().create_future()
    lease = admission.take()
    try:
        job = admission.lane.batcher.submit(rows, lease.release, waiter)
    except HubError:
        lease.release()
        raise
    try:
        await waiter
    except asyncio.CancelledError:
        admission.lane.batcher.cancel(job)
        raise
    return job


def _encode(admission: Admission, requests: Sequence[Request]) -> list[Encoded]:
    tokenizer = admission.lane.tokenizers.mine()
    route, slot = admission.route, admission.slot
    task, head = route.task.task, route.task.spec.head
    longest = admission.lane.base.max_length
    encoded: list[Encoded] = []
    for request in requests:
        if isinstance(request, HubError):
            encoded.append(request)
            continue
        try:
            rows = [EngineRow(row, slot, head) for row in task.encode(request, tokenizer, route.info)]
            if any(not 0 < len(row.row.input_ids) <= longest for row in rows):
                raise HubError(
                    f"The task {route.task.spec.name!r} made a row that is empty or longer than the "
                    f"{longest} tokens that base {admission.lane.base.name!r} takes: a fault in the plugin."
                )
        except HubError as error:
            encoded.append(error)
        except Exception as error:
            encoded.append(_fault(route.task.spec.name, "encode", error))
        else:
            encoded.append(rows)
    return encoded


def _decode(
    admission: Admission,
    requests: Sequence[Request],
    encoded: Sequence[Encoded],
    outcomes: Sequence[Output | HubError | None],
) -> list[BaseModel | HubError]:
    route, at = admission.route, 0
    answers: list[BaseModel | HubError] = []
    for request, rows in zip(requests, encoded, strict=True):
        if isinstance(rows, HubError):
            answers.append(rows)
            continue
        mine, at = outcomes[at : at + len(rows)], at + len(rows)
        outputs = [outcome for outcome in mine if isinstance(outcome, Output)]
        failed = next((outcome for outcome in mine if isinstance(outcome, HubError)), None)
        try:
            answers.append(failed or route.task.task.decode(request, outputs, route.info))
        except HubError as error:
            answers.append(error)
        except Exception as error:
            answers.append(_fault(route.task.spec.name, "decode", error))
    return answers


def _fault(task: str, step: str, error: Exception) -> HubError:
    log_fault(log, f"Task {task} failed in {step}", error)
    return HubError(
        f"The task {task!r} failed in {step} ({type(error).__name__}): a fault in the plugin. The server's "
        "log says where."
    )
