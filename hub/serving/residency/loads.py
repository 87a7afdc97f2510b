"""Loads under way: one of a version at a time, a few beside each other, and none that holds up the rest.

A load may hang: on a stalled disk, on an object store. It cannot be ended from outside, so each runs in a
daemon thread of its own. It counts against the loads that run beside each other for a turn alone; then it
runs on, and the next one starts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from hub.errors import NotReady, Overloaded
from hub.store.records import Version

__all__ = ["Load", "Loads"]

AT_ONCE = 2  # loads that start beside each other, and urgent ones beside these: they share the cores
TURN_S = 5.0  # one that takes longer no longer keeps others from starting
THREADS = 32  # loads that may hang at one time; past that, others wait for them
WAITERS = 256  # requests that wait for one version; past that, 429


class Load:
    """One load of a version: `future` says how it ended."""

    __slots__ = ("began", "ended", "future", "let_go", "loading", "opened", "urgent", "version", "waiters")

    def __init__(self, version: Version, *, urgent: bool = False) -> None:
        self.version = version
        self.urgent = urgent  # a move waits for it: it goes before what requests wait for
        self.future: Future[None] = Future()
        self.future.set_running_or_notify_cancel()  # nobody who waits can cancel it for the others
        self.began = 0.0  # monotonic; 0.0 while it waits for its turn
        self.loading = 0.0  # monotonic: when its base was open; 0.0 before
        self.opened = threading.Event()  # its base is open, or the load is over
        self.waiters = 0
        self.ended = False
        self.let_go = False  # it has ended, and all who waited have had their turn

    def took(self) -> float:
        """Seconds since its base was open."""
        return time.monotonic() - self.loading if self.loading else 0.0


class Loads:
    """Calls `run` for each load; then, when nobody waits for it any more, `let_go`."""

    def __init__(self, run: Callable[[Load], None], let_go: Callable[[Load], None]) -> None:
        self._run = run
        self._let_go = let_go
        self._changed = threading.Condition()
        self._by_key: dict[str, Load] = {}
        self._queue: deque[Load] = deque()
        self._running: set[Load] = set()
        self._timer: threading.Timer | None = None
        self._closed = False

    def get(self, key: str) -> Load | None:
        """Return the load of a version that is under way."""
        return self._by_key.get(key)

    def all(self) -> list[Load]:
        """Return the loads under way."""
        with self._changed:
            return list(self._by_key.values())

    def submit(self, load: Load) -> None:
        """Start a load when its turn comes; the caller sees to it that there is no other of its version."""
        with self._changed:
            refused = self._closed
            if not refused:
                self._by_key[load.version.sha256] = load
                self._enqueue(load)
                self._dispatch()
        if refused:
            self._end(load, NotReady("The server is shutting down. Send the request again."))

    def hurry(self, load: Load) -> None:
        """Make a load urgent that may still wait for its turn."""
        with self._changed:
            if load in self._queue and not load.urgent:
                self._queue.remove(load)
                load.urgent = True
                self._enqueue(load)
                self._dispatch()

    def join(self, load: Load, most: int | None = None) -> bool:
        """Wait for a load until `leave`; False if it was let go already.

        Raises:
            Overloaded: `most` wait for it already.
        """
        with self._changed:
            if load.let_go:
                return False
            if most is not None and load.waiters >= most:
                raise Overloaded(
                    f"{load.waiters} requests wait for {load.version.ref} to be loaded. Send the request "
                    "again later."
                )
            load.waiters += 1
            return True

    def leave(self, load: Load) -> None:
        """End a `join`."""
        with self._changed:
            load.waiters -= 1
            last = self._is_last(load)
        if last:
            self._let_go(load)

    def close(self, timeout: float) -> None:
        """Take no more, fail those that wait for a turn, and give those that run time to end."""
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
        """Start what may start; called under the lock."""
        while self._queue:
            now = time.monotonic()
            turns = [left for one in self._running if (left := one.began + TURN_S - now) > 0]
            if len(self._running) >= THREADS:
                return
            if len(turns) >= AT_ONCE * (1 + self._queue[0].urgent):
                if self._timer is None:
                    self._timer = threading.Timer(min(turns), self._tick)
                    self._timer.daemon = True
                    self._timer.start()
                return
            load = self._queue.popleft()
            load.began = now
            self._running.add(load)
            threading.Thread(target=self._work, args=(load,), name="load", daemon=True).start()

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
        """Forget a load, before those that wait for it hear of it."""
        with self._changed:
            self._by_key.pop(load.version.sha256, None)
            self._running.discard(load)
            load.ended = True
            last = self._is_last(load)
            self._dispatch()
            self._changed.notify_all()
        load.opened.set()
        if error is None:
            load.future.set_result(None)
        else:
            load.future.set_exception(error)
        if last:
            self._let_go(load)

    def _is_last(self, load: Load) -> bool:
        """Say, once, that a load has ended and nobody waits for it."""
        if load.ended and not load.waiters and not load.let_go:
            load.let_go = True
            return True
        return False
