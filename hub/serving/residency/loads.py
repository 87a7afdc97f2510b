"""Loads in progress: one per version, a few in parallel, and none that blocks the others.

A load may hang on a stalled disk or an object store. It cannot be ended from outside, so each runs in its own
daemon thread. After TURN_S it no longer counts against the limit of parallel loads, and the next one starts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from hub.errors import NotReady, Overloaded
from hub.store.records import Version

__all__ = ["Load", "Loads"]

MAX_PARALLEL = 2  # loads, and as many urgent ones in addition: they share the cores
TURN_S = 5.0  # a load that takes longer no longer counts as parallel
MAX_THREADS = 32  # loads in progress, including hanging ones
MAX_WAITERS = 256  # requests that wait for one version; more get 429


class Load:
    """One load of a version; `future` holds its result."""

    __slots__ = (
        "began",
        "ended",
        "future",
        "loading",
        "opened",
        "released",
        "unwanted",
        "urgent",
        "version",
        "waiters",
    )

    def __init__(self, version: Version, *, urgent: bool = False) -> None:
        self.version = version
        self.urgent = urgent  # a deployment change waits for it: it goes before loads for requests
        self.future: Future[None] = Future()
        self.future.set_running_or_notify_cancel()  # no waiter can cancel it for the others
        self.began = 0.0  # monotonic; 0.0 while it waits for its turn
        self.loading = 0.0  # monotonic: when its base was open; 0.0 before that
        self.opened = threading.Event()  # its base is open, or the load is over
        self.waiters = 0
        self.unwanted = ""  # why its version is drained at the end, unless somebody asks for it before
        self.ended = False
        self.released = False  # it has ended and nobody waits for it

    def took(self) -> float:
        """Seconds since its base was open."""
        return time.monotonic() - self.loading if self.loading else 0.0


class Loads:
    """Calls `run` for each load, and `release` once it has ended and nobody waits for it."""

    def __init__(self, run: Callable[[Load], None], release: Callable[[Load], None]) -> None:
        self._run = run
        self._release = release
        self._changed = threading.Condition()
        self._by_key: dict[str, Load] = {}
        self._queue: deque[Load] = deque()
        self._running: set[Load] = set()
        self._timer: threading.Timer | None = None
        self._closed = False

    def get(self, key: str) -> Load | None:
        """Return the load of a version that is in progress."""
        return self._by_key.get(key)

    def all(self) -> list[Load]:
        """Return the loads in progress."""
        with self._changed:
            return list(self._by_key.values())

    def submit(self, load: Load) -> None:
        """Start a load when its turn comes; the caller ensures that the version has no other."""
        with self._changed:
            refused = self._closed
            if not refused:
                self._by_key[load.version.sha256] = load
                self._enqueue(load)
        if refused:
            self._end(load, NotReady("The server is shutting down. Send the request again."))
        else:
            self._dispatch()

    def want(self, load: Load, *, urgent: bool) -> None:
        """Take an `unwant` back; `urgent` makes a queued load so."""
        with self._changed:
            load.unwanted = ""
            if urgent and load in self._queue and not load.urgent:
                self._queue.remove(load)
                load.urgent = True
                self._enqueue(load)
        self._dispatch()

    def unwant(self, key: str, reason: str) -> bool:
        """Let the version that is being loaded be drained at the end, unless `want` or `join` follow.

        False if it is not being loaded.
        """
        with self._changed:
            if load := self._by_key.get(key):
                load.unwanted = reason
            return load is not None

    def join(self, load: Load, max_waiters: int | None = None) -> bool:
        """Add a waiter, until `leave`; False if the load was released already.

        Raises:
            Overloaded: it has `max_waiters` already.
        """
        with self._changed:
            if load.released:
                return False
            if max_waiters is not None and load.waiters >= max_waiters:
                raise Overloaded(
                    f"{load.waiters} requests wait for {load.version.ref} to be loaded. Send the request "
                    "again later."
                )
            load.waiters += 1
            load.unwanted = ""
            return True

    def leave(self, load: Load) -> None:
        """End a `join`."""
        with self._changed:
            load.waiters -= 1
            last = self._is_last(load)
        if last:
            self._release(load)

    def close(self, timeout: float) -> None:
        """Accept no more loads, fail the queued ones, and wait for the running ones."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            if self._timer:
                self._timer.cancel()
        for load in waiting:
            self._end(load, NotReady("The server is shutting down. Send the request again."))
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout)

    def _enqueue(self, load: Load) -> None:
        at = sum(one.urgent for one in self._queue) if load.urgent else len(self._queue)
        self._queue.insert(at, load)

    def _dispatch(self) -> None:
        """Start what may start; where the system allows no thread for a load, others must end first."""
        with self._changed:
            unstarted = self._start_due()
        for load in unstarted:
            self._end(load, Overloaded("The system allows no more threads. Send the request again later."))

    def _start_due(self) -> list[Load]:
        """Start the loads whose turn has come; return those that nothing would start later."""
        unstarted: list[Load] = []
        while self._queue:
            now = time.monotonic()
            turns = [left for one in self._running if (left := one.began + TURN_S - now) > 0]
            if len(self._running) >= MAX_THREADS:
                break
            if len(turns) >= MAX_PARALLEL * (1 + self._queue[0].urgent):
                if self._timer is None:
                    timer = threading.Timer(min(turns), self._tick)
                    timer.daemon = True
                    with suppress(RuntimeError):  # no thread for it: the end of a load will do
                        timer.start()
                        self._timer = timer
                break
            load = self._queue.popleft()
            load.began = now
            thread = threading.Thread(target=self._work, args=(load,), name="load", daemon=True)
            try:
                thread.start()  # it waits for the lock before it ends
            except RuntimeError:
                load.began = 0.0
                if self._running:
                    self._queue.appendleft(load)
                    break
                unstarted.append(load)
            else:
                self._running.add(load)
        return unstarted

    def _tick(self) -> None:
        with self._changed:
            self._timer = None
        self._dispatch()

    def _work(self, load: Load) -> None:
        error: BaseException | None = None
        try:
            self._run(load)
        except BaseException as raised:
            error = raised
        self._end(load, error)

    def _end(self, load: Load, error: BaseException | None) -> None:
        """Remove a load, then set its result for those that wait."""
        with self._changed:
            self._by_key.pop(load.version.sha256, None)
            self._running.discard(load)
            load.ended = True
            last = self._is_last(load)
            self._changed.notify_all()
        self._dispatch()
        load.opened.set()
        if error is None:
            load.future.set_result(None)
        else:
            load.future.set_exception(error)
        if last:
            self._release(load)

    def _is_last(self, load: Load) -> bool:
        """Return True once, when a load has ended and nobody waits for it."""
        if load.ended and not load.waiters and not load.released:
            load.released = True
            return True
        return False
