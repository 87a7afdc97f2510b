"""Threads that run plugin code, with a time limit for each stage and a bounded share for each task.

A thread cannot be ended from outside. One that exceeds the limit is written off: its caller gets an error,
and a new thread takes its place. A task with too many such threads is suspended. One that takes too much
memory is written off too, and told to stop.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

from hub.errors import HubError, NotReady, PluginFailed, PluginMemory, PluginSuspended, PluginTimeout
from hub.registry.stdout import printing_to
from hub.serving.meter import Meter
from hub.serving.plugins.faults import PluginFaults
from hub.serving.plugins.stages import Stage, Work, advance, fail
from hub.serving.plugins.stopping import Stopped, stay, stop, where
from hub.serving.plugins.suspension import Suspension

__all__ = ["SLOW_S", "RunningStage", "TaskThreads", "ThreadState"]

log = logging.getLogger(__name__)

SLOW_S = 0.2


@dataclass(frozen=True, slots=True)
class ThreadState:
    """The state of one task's threads, for status pages."""

    task: str
    plugin: str
    stuck: int
    suspended: bool
    retry_in_s: float | None


class RunningStage(NamedTuple):
    """A stage that a thread is in; equal for the same call only."""

    threads: TaskThreads
    thread: _Thread
    stage: Stage


class _Thread:
    """The state of one thread."""

    __slots__ = ("began", "left", "lost", "slow", "stage", "thread", "work")

    def __init__(self) -> None:
        self.work: Work | None = None
        self.stage: Stage | None = None
        self.began = 0.0  # monotonic
        self.slow: Stage | None = None  # the last stage whose `slow` was called
        self.lost = False
        self.left: Stage | None = None  # the one in which it was written off
        self.thread: threading.Thread | None = None


class TaskThreads:
    """Runs the plugin code of one task in at most `share` daemon threads, which start when needed.

    Threads that were written off do not count; neither `close` nor the interpreter's exit waits for them.
    """

    def __init__(self, task: str, plugin: str, share: int, meter: Meter | None = None) -> None:
        self.task = task
        self.plugin = plugin
        self._share = share
        self._meter = meter or Meter()
        self.faults = PluginFaults(task, plugin, self._meter)
        self._lock = threading.Lock()
        self._queue: SimpleQueue[tuple[Work, Stage] | None] = SimpleQueue()
        self._idle = 0  # threads that wait for the queue, minus queued items
        self._live: set[_Thread] = set()
        self._stuck: set[_Thread] = set()
        self._suspension = Suspension(share)
        self._closed = False

    @property
    def suspended(self) -> bool:
        return self._suspension.active

    @property
    def stuck(self) -> int:
        """Threads that were written off and have not returned."""
        return len(self._stuck)

    def admit(self) -> bool:
        """Admit a call; True if it is the trial of a suspended task, whose end goes to `end_trial`.

        Raises:
            PluginSuspended: the task is suspended.
        """
        if not self._suspension.active:
            return False
        with self._lock:
            if self._suspension.begin_trial(time.monotonic()):
                return True
        raise self.refusal()

    def end_trial(self, answered: bool) -> None:
        """End a trial."""
        with self._lock:
            resumed = self._suspension.end_trial(answered)
        if resumed:
            self._resumed("a trial call was answered")

    def refusal(self) -> PluginSuspended:
        """Return the error for a call of a suspended task."""
        retry = self._suspension.retry_in(time.monotonic())
        when = "" if retry is None else f"One call is tried again in {retry:.0f} s. "
        return PluginSuspended(
            f"The task {self.task!r} is suspended: {self._reason()} in the code of plugin "
            f"{self.plugin!r}. {when}Update the plugin, or disable it with "
            f"`hub plugins disable {self.plugin}`, then run `hub plugins reload`."
        )

    def _reason(self) -> str:
        if self._suspension.by_memory:
            return "several calls took too much memory"
        return f"{len(self._stuck)} calls hang"

    def submit(self, work: Work) -> None:
        """Run `work` up to its first stage in this thread, and the rest in a thread of the task."""
        if (stage := advance(work)) is not None:
            self._put(work, stage)

    def expire(self, limit_s: float) -> None:
        """Write off the threads that have been in one stage for longer than `limit_s`."""
        now = time.monotonic()
        for thread in list(self._live):
            stage = thread.stage
            if stage is None or now - thread.began <= min(SLOW_S, limit_s):
                continue
            if stage.slow and thread.slow is not stage:
                thread.slow = stage
                stage.slow()
            if now - thread.began <= limit_s:
                continue
            message = (
                f"The task {self.task!r} of plugin {self.plugin!r} did not finish {stage.name} within "
                f"{limit_s:g} s (limits.plugin_timeout_s). The call was given up."
            )
            self._write_off(thread, stage, PluginTimeout(message))

    def running(self) -> list[RunningStage]:
        """Return the stages that threads are in, those without a waiting caller too."""
        return [RunningStage(self, thread, stage) for thread in list(self._live) if (stage := thread.stage)]

    def exceeded(self, running: RunningStage, grown_mb: int, limit_mb: int) -> None:
        """Write off and stop a thread whose call has made the process grow too much."""
        message = (
            f"The task {self.task!r} of plugin {self.plugin!r} took {grown_mb:,} MB of memory in "
            f"{running.stage.name}, and the limit is {limit_mb:,} (limits.plugin_memory_mb). The call "
            "was given up."
        )
        self._write_off(running.thread, running.stage, PluginMemory(message))

    def state(self) -> ThreadState:
        """Describe the threads that hang."""
        retry = self._suspension.retry_in(time.monotonic())
        return ThreadState(self.task, self.plugin, len(self._stuck), self._suspension.active, retry)

    def close(self) -> None:
        """Accept no more work; queued work still runs until `abandon`."""
        with self._lock:
            self._closed = True
            for _ in self._live:
                self._queue.put(None)

    def join(self, deadline: float) -> None:
        """Wait for the threads to end until `deadline`, a time of the monotonic clock."""
        for thread in list(self._live):
            if thread.thread:
                thread.thread.join(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> int:
        """Fail queued work, write off every running thread, and return their number."""
        error = _shutting_down()
        self._drain(error)
        running = [(thread, stage) for thread in list(self._live) if (stage := thread.stage)]
        return sum(self._write_off(thread, stage, error) for thread, stage in running)

    def _put(self, work: Work, stage: Stage) -> None:
        with self._lock:
            closed = self._closed
            if not closed:
                self._queue.put((work, stage))
                served = self._hire()
        if closed:
            fail(work, _shutting_down())
        elif not served:
            self._drain(_no_threads())

    def _hire(self) -> bool:
        """Provide a thread for one more queue item; False if there is none at all. Call under the lock."""
        if self._idle:
            self._idle -= 1
        elif len(self._live) < self._share:
            thread = _Thread()
            self._live.add(thread)
            name = f"task-{self.task}"
            thread.thread = threading.Thread(target=self._main, args=(thread,), name=name, daemon=True)
            try:
                thread.thread.start()
            except RuntimeError:  # the system allows no more threads: the existing ones do the work
                self._live.discard(thread)
                log.error("A thread of task %s could not be started.", self.task)
        return bool(self._live)

    def _main(self, thread: _Thread) -> None:
        try:
            self._loop(thread)
        except Stopped:  # it came after the plugin's code had returned; nothing else was waiting
            self._returned(thread)

    def _loop(self, thread: _Thread) -> None:
        while item := self._next():
            if not self._run(thread, *item):
                return
            del item  # it holds the texts of a call, and the next item may come late
        with self._lock:
            self._live.discard(thread)

    def _next(self) -> tuple[Work, Stage] | None:
        with self._lock:
            try:
                return self._queue.get_nowait()
            except Empty:
                if self._closed:
                    return None
                self._idle += 1
        return self._queue.get()

    def _run(self, thread: _Thread, work: Work, stage: Stage | None) -> bool:
        """Run the stages of `work`; False if the thread was written off meanwhile."""
        while stage is not None:
            error: Exception | None = None
            result: object = None
            try:
                if stage.prepare:
                    stage.prepare()
                thread.work, thread.began = work, time.monotonic()
                thread.stage = stage  # last: `expire` reads it first
                with printing_to(self.faults.stdout(stage.name)):
                    result = stage.run()
            except Exception as raised:
                error = raised
            except BaseException as raised:  # sys.exit() in a plugin ends its call, not the thread
                error = PluginFailed(
                    f"The task {self.task!r} of plugin {self.plugin!r} raised {type(raised).__name__} "
                    f"in {stage.name}."
                )
                error.__cause__ = raised
                if not isinstance(raised, Stopped):
                    self.faults.count(stage.name, "raised")
            with self._lock:
                thread.stage = thread.slow = thread.work = None
                lost = thread.lost
            if lost:
                stay()
                self._returned(thread)
                return False
            stage = advance(work, error, result)
        return True

    def _write_off(self, thread: _Thread, stage: Stage, error: HubError) -> bool:
        """Give up on a thread and its work, unless the stage has just ended."""
        with self._lock:
            if thread.stage is not stage or thread.lost:
                return False
            thread.lost = True
            thread.left = stage
            work = thread.work
            self._live.discard(thread)
            self._stuck.add(thread)
            suspends = not stage.optional and self._suspension.hung(time.monotonic())
            if isinstance(error, PluginMemory):
                stop(thread.thread)  # under the lock: it is still in the stage
                suspends |= not stage.optional and self._suspension.overran(time.monotonic())
            served = self._queue.empty() or suspends or self._hire()
        does = "takes too much memory" if isinstance(error, PluginMemory) else "hangs"
        place = where(thread.thread)
        log.warning("Task %s, plugin %s: %s %s%s.", self.task, self.plugin, stage.name, does, place)
        if isinstance(error, PluginTimeout | PluginMemory):
            self.faults.count(stage.name, "timeout" if isinstance(error, PluginTimeout) else "memory")
        self._count()
        assert work is not None, "a thread in a stage has work"
        if suspends:
            refusal = self.refusal()
            log.warning("%s", refusal)
            self._drain(refusal)
        if not served:
            self._drain(_no_threads())
        if (rest := advance(work, error)) is not None:
            self._put(work, rest)
        return True

    def _returned(self, thread: _Thread) -> None:
        """Record that a thread that was written off has returned from plugin code."""
        stage = thread.left
        assert stage is not None, "the thread was written off"
        with self._lock:
            self._stuck.discard(thread)
            resumed = not stage.optional and self._suspension.returned()
        log.info("Task %s, plugin %s: %s that was given up has returned.", self.task, self.plugin, stage.name)
        if resumed:
            self._resumed("calls that hung have returned")
        else:
            self._count()

    def _drain(self, error: HubError) -> None:
        """Fail all work that is queued."""
        found = []
        with self._lock:
            while not self._queue.empty():
                found.append(self._queue.get_nowait())
            for _ in range(found.count(None)):
                self._queue.put(None)
        for item in found:
            if item is not None:
                fail(item[0], error)

    def _resumed(self, reason: str) -> None:
        log.warning("Task %s of plugin %s is served again: %s.", self.task, self.plugin, reason)
        self._count()

    def _count(self) -> None:
        self._meter.stuck(self.task, len(self._stuck), self._suspension.active)


def _shutting_down() -> NotReady:
    return NotReady("The server is shutting down. Send the request again.")


def _no_threads() -> NotReady:
    return NotReady("The system allows no more threads. Send the request again later.")
