"""Tells the observers of plugins of requests and adapters, each in a thread of its own.

Nothing here waits for an observer but `stop`, so that a slow one delays no answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue
from typing import Any

from hub.api import AdapterEvent, EventObserver, RequestEvent
from hub.errors import log_fault
from hub.registry.extensions import Extensions
from hub.registry.kinds import OBSERVERS
from hub.serving.meter import Meter
from hub.serving.observation import Observation
from hub.store.records import Deployment

__all__ = ["EventObservers"]

log = logging.getLogger(__name__)

MAX_QUEUE = 10_000  # events that wait for an observer
MAX_FAILURES = 10  # one after another; then the observer is put aside
MAX_CALL_S = 10.0  # an observer whose call takes longer while its queue is full is put aside
CLOSE_S = 2.0  # at the end, for all observers together

Event = RequestEvent | AdapterEvent


class EventObservers:
    """The observers of a server; an `Observer` of the pipeline. Thread-safe."""

    def __init__(self, extensions: Extensions, meter: Meter) -> None:
        self._workers = [_Worker(spec.name, built, meter) for spec, built in extensions.all(OBSERVERS)]
        self._of_requests = [one for one in self._workers if one.wants_requests]

    def start(self) -> None:
        """Start the threads."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Let the observers finish what waits, for CLOSE_S at most."""
        until = time.monotonic() + CLOSE_S
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))

    def wants(self, deployment: Deployment) -> bool:
        """Return whether an observer wants requests."""
        return any(not worker.aside for worker in self._of_requests)

    def observe(self, seen: Observation) -> None:
        """Pass on what happened, without the content."""
        event = RequestEvent(
            deployment=seen.deployment.name,
            task=seen.deployment.task,
            version=str(seen.version.ref),
            track=seen.track.value,
            request_id=seen.request_id,
            seconds=seen.seconds,
            error=seen.error,
        )
        for worker in self._of_requests:
            worker.offer(event)

    def adapter(self, event: AdapterEvent) -> None:
        """Pass on a change of an adapter."""
        for worker in self._workers:
            worker.offer(event)

    def describe(self) -> list[dict[str, Any]]:
        """Describe each observer as JSON values."""
        return [worker.describe() for worker in self._workers]


class _Worker:
    def __init__(self, name: str, observer: EventObserver[Any], meter: Meter) -> None:
        self.name = name
        self.aside = ""  # the reason
        self.wants_requests = type(observer).request is not EventObserver.request
        self._observer = observer
        self._meter = meter
        self._events: Queue[Event | None] = Queue(MAX_QUEUE)  # None wakes the thread at the end
        self._ended = threading.Event()
        self._busy_since = 0.0
        self._counts = {"delivered": 0, "failed": 0, "dropped": 0}
        self._thread = threading.Thread(target=self._work, name=f"observer-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        with suppress(Full):  # its thread works then, and looks whether it has ended after each event
            self._events.put_nowait(None)

    def join(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(seconds)

    def offer(self, event: Event) -> None:
        """Queue an event; never blocks and never raises."""
        if self.aside:
            return
        try:
            self._events.put_nowait(event)
        except Full:
            self._count("dropped")
            since = self._busy_since
            if since and time.monotonic() - since > MAX_CALL_S:
                self._put_aside(f"a call has not returned after {MAX_CALL_S:g} s, and its queue is full")

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": "aside" if self.aside else "ok",
            "reason": self.aside,
            **self._counts,
            "waiting": self._events.qsize(),
        }

    def _work(self) -> None:
        failures = 0
        while not self.aside and not (self._ended.is_set() and self._events.empty()):
            event = self._events.get()
            if event is None:
                continue
            call = self._observer.request if isinstance(event, RequestEvent) else self._observer.adapter
            failures = 0 if self._called(call, event) else failures + 1
            if failures >= MAX_FAILURES:
                self._put_aside(f"{failures} calls failed, one after another")
        if not self.aside:
            self._called(lambda _: self._observer.close(), None)

    def _called(self, call: Callable[[Any], None], event: Event | None) -> bool:
        """Call the observer; return whether it succeeded."""
        self._busy_since = time.monotonic()
        try:
            call(event)
        except BaseException as error:  # a plugin may even call sys.exit()
            self._count("failed")
            log_fault(log, f"Observer {self.name} failed", error)
            return False
        finally:
            self._busy_since = 0.0
        if event is not None:
            self._count("delivered")
        return True

    def _count(self, outcome: str) -> None:
        self._counts[outcome] += 1
        self._meter.observed(self.name, outcome)

    def _put_aside(self, reason: str) -> None:
        if not self.aside:
            self.aside = reason
            log.warning("Observer %s is put aside until the server restarts: %s.", self.name, reason)
