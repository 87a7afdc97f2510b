"""The second version of a call, such as a shadow: its rows, and the comparison of both versions' answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from hub.api import Task
from hub.config import LimitSettings
from hub.engine.protocol import EngineRow
from hub.errors import HubError, log_fault
from hub.serving.canary.grading import agree
from hub.serving.plugins.stages import Stage, Work
from hub.serving.plugins.stopping import Stopped
from hub.serving.requests.call import Side
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.codec import Outcome

__all__ = ["BesideRuns"]

log = logging.getLogger(__name__)

MAX_QUEUE_BESIDE = 0.75  # of limits.queued_rows: with longer queues no second version runs


class BesideRuns:
    """Runs the second version of calls and compares its answers; `notify` calls on the event loop."""

    def __init__(self, limits: LimitSettings, notify: Callable[..., None]) -> None:
        self._limits = limits
        self._notify = notify
        self._joining = threading.Lock()

    def encode(self, side: Side, rows: int) -> Generator[Stage, list[EngineRow], list[EngineRow]]:
        """Encode the rows that run beside `rows` rows of the caller; none on failure or if too many."""
        try:
            extra = yield side.encode(optional=True)
        except Exception as error:
            log_fault(log, f"{side.held.target.version.ref} could not run beside", error)
            return []
        waiting = side.held.base_worker.batcher.waiting + rows + len(extra)
        fits = len(extra) <= self._limits.rows and waiting <= MAX_QUEUE_BESIDE * self._limits.queued_rows
        return extra if fits else []

    def join(self, side: Side, beside: Side) -> Work:
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


def _compare(items: Sequence[Outcome], beside: Side) -> list[bool | None]:
    task = beside.call.task.task
    return [_agreed(task, one, other.outcome) for one, other in zip(items, beside.items(), strict=True)]


def _agreed(task: Task[Any, Any], one: Outcome, other: Outcome) -> bool | None:
    if isinstance(one, HubError) or isinstance(other, HubError):
        return None
    try:
        return agree(task, one, other)
    except Stopped:
        raise
    except BaseException as error:  # a plugin's serializer may raise anything
        log_fault(log, "Two answers could not be compared", error)
        return None
