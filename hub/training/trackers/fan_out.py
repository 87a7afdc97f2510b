"""Passes the logs of a run to trackers, each in its own thread, so that a failure does not end the run."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Full, Queue

from hub.api.kinds.tracker import Begun, Ended, RunLog, RunStatus, Scalars

__all__ = ["WAIT_S", "Tracked", "TrackerPlace", "Trackers"]

WAIT_S = 10.0  # at the end of a run, for all trackers together
MAX_QUEUE = 10_000  # pending calls of a slow tracker
MAX_SHOWN = 200  # characters of an error

_log = logging.getLogger(__name__)
_SECRET = re.compile(r"(?<=://)[^/\s@]*@")
_ILLEGAL = re.compile(r"[^\w./ :-]")

_Call = Callable[[RunLog], None]


@dataclass(frozen=True, slots=True)
class TrackerPlace:
    """A tracker to open; `where` is a folder or an address for readers."""

    name: str
    where: str
    open: Callable[[], RunLog]


@dataclass(frozen=True, slots=True)
class Tracked:
    """The result of a tracker; `problem` is "" if it received the whole run."""

    name: str
    where: str
    problem: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return {"name": self.name, "where": self.where, "problem": self.problem}


class Trackers:
    """The trackers of one run. No call raises, and only `end` waits, for at most `wait_s` seconds."""

    def __init__(self, places: Sequence[TrackerPlace], run: Begun, wait_s: float = WAIT_S) -> None:
        self._workers = [_Worker(place) for place in places]
        self._wait_s = wait_s
        self._known = self._step = 0
        self._send(lambda tracker: tracker.start(run))

    def logged(self, history: Sequence[Mapping[str, float]]) -> None:
        """Pass the entries since the last call; `history` has all log entries of the run."""
        for entry in history[self._known :]:
            self._step = max(self._step, int(entry["step"]))
            if values := _scalars(entry):
                self._send(lambda tracker, step=int(entry["step"]), of=values: tracker.scalars(step, of))  # type: ignore[misc]
        self._known = max(self._known, len(history))

    def end(
        self, status: RunStatus, metrics: Mapping[str, float] = {}, tags: Mapping[str, str] = {}
    ) -> tuple[Tracked, ...]:
        """End the run, wait until all trackers have written it, and return their results."""
        ended = Ended(status, self._step, _named("held_out", metrics), tags)
        self._send(lambda tracker: tracker.end(ended))
        self._send(None)
        until = time.monotonic() + self._wait_s
        return tuple(worker.close(max(0.0, until - time.monotonic())) for worker in self._workers)

    def _send(self, call: _Call | None) -> None:
        for worker in self._workers:
            worker.send(call)


class _Worker:
    """Calls one tracker in a thread, until it fails or its queue is full."""

    def __init__(self, place: TrackerPlace) -> None:
        self._place, self._problem = place, ""
        self._calls: Queue[_Call | None] = Queue(MAX_QUEUE)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"tracker-{place.name}", daemon=True)
        self._thread.start()

    def send(self, call: _Call | None) -> None:
        if self._problem:
            return
        try:
            self._calls.put_nowait(call)
        except Full:
            self._fail(f"is {MAX_QUEUE:,} calls behind")

    def close(self, seconds: float) -> Tracked:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._fail("had not written everything when the run ended")
        return Tracked(self._place.name, self._place.where, self._problem)

    def _work(self) -> None:
        try:
            tracker = self._place.open()
            while (call := self._calls.get()) and not self._problem:
                call(tracker)
        except Exception as error:  # libraries and servers raise exceptions of any type
            self._fail(_problem(error))

    def _fail(self, problem: str) -> None:
        with self._lock:
            if self._problem:
                return
            self._problem = problem
        _log.warning("%s: %s. The run continues without it.", self._place.name, problem)


def _problem(error: Exception) -> str:
    """Return the error in one line, without user names and passwords in addresses."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return _SECRET.sub("", text)[:MAX_SHOWN].rstrip(". ")


def _scalars(entry: Mapping[str, float]) -> Scalars:
    validation = {name[5:]: value for name, value in entry.items() if name.startswith("eval_")}
    train = {name: entry[name] for name in ("loss", "learning_rate", "grad_norm") if name in entry}
    return _named("train", train) | _named("validation", validation)


def _named(section: str, values: Mapping[str, float]) -> dict[str, float]:
    return {
        _ILLEGAL.sub("_", f"{section}/{name}"): float(value)
        for name, value in values.items()
        if math.isfinite(value)
    }
