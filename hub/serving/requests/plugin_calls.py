"""Calls of plugin code that need no engine, and the limit on a task's requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from hub.config import LimitSettings
from hub.engine.shares import Flow
from hub.errors import HubError, Overloaded
from hub.registry.host import LoadedTask
from hub.serving.batching.fair_queue import NOBODY
from hub.serving.batching.places import QueuePlaces
from hub.serving.plugins.pool import PluginPool
from hub.serving.plugins.stages import Stage, Work
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests.codec import fault

__all__ = ["VALIDATION", "CountedCall", "PluginCalls"]

VALIDATION = "validation of a request"

Result = TypeVar("Result")


@dataclass(slots=True)
class CountedCall:
    """A call while it counts towards the limit; a `trial` call ends the suspension if `answered`."""

    trial: bool
    answered: bool = False


class PluginCalls:
    """Admits calls to the threads of their tasks; `notify` calls on the event loop."""

    def __init__(
        self,
        limits: LimitSettings,
        loop: asyncio.AbstractEventLoop,
        pool: PluginPool,
        notify: Callable[..., None],
    ) -> None:
        self._places: defaultdict[TaskThreads, QueuePlaces] = defaultdict(
            lambda: QueuePlaces(limits.queued_rows)
        )
        self._loop = loop
        self._pool = pool
        self._notify = notify

    @contextmanager
    def admitted(self, threads: TaskThreads, requests: int, flow: Flow = NOBODY) -> Iterator[CountedCall]:
        """Count the requests of a call while they are answered.

        Each request has at least one row, so the limit of queued rows also limits requests.

        Raises:
            Overloaded: too many requests are being answered.
            PluginSuspended: the task is suspended.
        """
        places = self._places[threads]
        if not places.fit(flow, requests):
            raise Overloaded(
                f"{len(places)} requests of this task are being answered and the limit is {places.limit} "
                "(limits.queued_rows). Send the request again later."
            )
        counted = CountedCall(threads.admit())
        try:
            with places.held(flow, requests):
                yield counted
        finally:
            if counted.trial:
                threads.end_trial(counted.answered)

    async def read(self, task: LoadedTask, call: Callable[[], Result], step: str = VALIDATION) -> Result:
        """Call plugin code in a thread of the task, under its time limit.

        Raises:
            PluginTimeout, PluginSuspended, PluginFailed: as `Pipeline.run`; and any HubError of `call`.
        """
        threads = self._pool.of(task.spec.name)
        waiter: asyncio.Future[Result] = self._loop.create_future()
        with self.admitted(threads, 1) as counted:
            threads.submit(self._read(task, threads, call, waiter, step))
            result = await waiter
            counted.answered = True
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
            self._notify(_settle, waiter, fault(task, threads.faults, step, error))
        else:
            self._notify(_settle, waiter, None, result)


def _settle(waiter: asyncio.Future[Result], error: HubError | None, result: Any = None) -> None:
    if waiter.done():
        return
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)
