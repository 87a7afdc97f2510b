"""The threads of all tasks, and the thread that enforces their time limit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from hub.errors import log_fault
from hub.serving.meter import Meter
from hub.serving.plugins.growth import MemoryWatch
from hub.serving.plugins.stages import Stage, Work
from hub.serving.plugins.threads import TaskThreads, ThreadState

__all__ = ["PluginPool"]

log = logging.getLogger(__name__)

GRACE_S = 3.0  # for plugin code, once the server shuts down
CHECKS = 8  # for hanging threads, per time limit
MAX_CHECK_S = 0.1  # in which a plugin that takes memory takes up to some 100 MB more


Result = TypeVar("Result")


class PluginPool:
    """Gives each task its own threads, at most `share`.

    Plugin code may take `limit_s` seconds per stage, and `memory_mb` of memory while it runs alone; 0 MB: no
    limit.
    """

    def __init__(
        self,
        limit_s: float,
        share: int,
        plugin_of: Callable[[str], str] = str,
        meter: Meter | None = None,
        memory_mb: int = 0,
    ) -> None:
        self._memory = MemoryWatch(memory_mb)
        self._limit_s = limit_s
        self._share = share
        self._plugin_of = plugin_of
        self._meter = meter or Meter()
        self._tasks: dict[str, TaskThreads] = {}
        self._lock = threading.Lock()  # taken before those of TaskThreads
        self._ended = threading.Event()
        self._closed = False
        self._watch = threading.Thread(target=self._check, name="plugin-watch", daemon=True)

    def of(self, task: str) -> TaskThreads:
        """Return the threads of a task."""
        return self._tasks.get(task) or self._make(task)

    def call(self, task: str, step: str, call: Callable[[], Result]) -> Result:
        """Run a call into a task's plugin code and wait for it; a hang does not count towards suspension.

        Raises:
            PluginTimeout: it did not end in time.
            PluginSuspended, NotReady: the task was suspended, or the server shut down, before its turn.
            PluginFailed: it raised SystemExit or the like. Other errors of the call are passed on.
        """
        waiter: Future[Result] = Future()
        self.of(task).submit(_one_stage(Stage(step, call, optional=True), waiter))
        return waiter.result()

    def states(self) -> list[ThreadState]:
        """Describe the tasks in whose code calls hang, by name."""
        found = [threads.state() for _, threads in sorted(self._tasks.items())]
        return [state for state in found if state.stuck or state.suspended]

    def drain(self) -> None:
        """Shorten the time limit, because the server shuts down."""
        self._limit_s = min(self._limit_s, GRACE_S)

    def close(self) -> None:
        """Run queued work for GRACE_S seconds at most, and abandon the threads that still hang."""
        with self._lock:
            self._closed = True
            tasks = list(self._tasks.values())
        for threads in tasks:
            threads.close()
        deadline = time.monotonic() + GRACE_S
        for threads in tasks:
            threads.join(deadline)
        for threads in tasks:
            if hanging := threads.abandon():
                log.warning("The server ends while %d calls run in task %s.", hanging, threads.task)
        self._ended.set()
        if self._watch.is_alive():
            self._watch.join()

    def _make(self, task: str) -> TaskThreads:
        with self._lock:
            if (threads := self._tasks.get(task)) is None:
                threads = TaskThreads(task, self._plugin_of(task), self._share, self._meter)
                if self._closed:
                    threads.close()
                elif not self._tasks:
                    self._watch.start()
                self._tasks = {**self._tasks, task: threads}
            return threads

    def _check(self) -> None:
        while not self._ended.wait(min(self._limit_s / CHECKS, MAX_CHECK_S)):
            for threads in list(self._tasks.values()):
                try:
                    threads.expire(self._limit_s)
                except Exception as error:  # the time limit must stay in force for the other tasks
                    log_fault(log, f"The threads of task {threads.task} could not be checked", error)
            try:
                self._memory.check(list(self._tasks.values()))
            except Exception as error:
                log_fault(log, "The memory of plugins could not be checked", error)


def _one_stage(stage: Stage, waiter: Future[Result]) -> Work:
    try:
        result: Result = yield stage
    except Exception as error:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)
