"""Passes the logs of one run to all trackers, each in its own thread: one that fails or hangs ends no run."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Full, Queue

from hub.training.trackers.tracker import Begun, Ended, Scalars, Status, Tracker

__all__ = ["WAIT", "Tracked", "TrackerPlace", "Trackers"]

WAIT = 10.0  # seconds that the end of a run waits for all trackers together
WAITING = 10_000  # calls that a slow tracker may be behind
SHOWN = 200  # characters of what a tracker says of its failure

_log = logging.getLogger(__name__)
_SECRET = re.compile(r"(?<=://)[^/\s@]*@")
_ILLEGAL = re.compile(r"[^\w./ :-]")

_Call = Callable[[Tracker], None]


@dataclass(frozen=True, slots=True)
class TrackerPlace:
    """A tracker that may be opened; `where` is a folder or an address for people."""

    name: str
    where: str
    open: Callable[[], Tracker]


@dataclass(frozen=True, slots=True)
class Tracked:
    """What became of a tracker; `problem` is "" when it has the whole run."""

    name: str
    where: str
    problem: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return {"name": self.name, "where": self.where, "problem": self.problem}


class Trackers:
    """The trackers of one run. No call raises, and only `end` waits, `wait` seconds at most."""

    def __init__(self, places: Sequence[TrackerPlace], run: Begun, wait: float = WAIT) -> None:
        self._workers = [_Worker(place) for place in places]
        self._wait = wait
        self._known = self._step = 0
        self._tell(lambda tracker: tracker.start(run))

    def logged(self, history: Sequence[Mapping[str, float]]) -> None:
        """Tell what a run has logged since the last call; `history` is all of it, with the steps."""
        for entry in history[self._known :]:
            self._step = max(self._step, int(entry["step"]))
            if values := _scalars(entry):
                self._tell(lambda tracker, step=int(entry["step"]), of=values: tracker.scalars(step, of))  # type: ignore[misc]
        self._known = max(self._known, len(history))

    def end(
        self, status: Status, metrics: Mapping[str, float] = {}, tags: Mapping[str, str] = {}
    ) -> tuple[Tracked, ...]:
        """Tell the end of the run, wait until it is written, and return what became of each tracker."""
        ended = Ended(status, self._step, _named("held_out", metrics), tags)
        self._tell(lambda tracker: tracker.end(ended))
        self._tell(None)
        until = time.monotonic() + self._wait
        return tuple(worker.close(max(0.0, until - time.monotonic())) for worker in self._workers)

    def _tell(self, call: _Call | None) -> None:
        for worker in self._workers:
            worker.tell(call)


class _Worker:
    """Calls one tracker, until it fails or is too far behind."""

    def __init__(self, place: TrackerPlace) -> None:
        self._place, self._problem = place, ""
        self._calls: Queue[_Call | None] = Queue(WAITING)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"tracker-{place.name}", daemon=True)
        self._thread.start()

    def tell(self, call: _Call | None) -> None:
        if self._problem:
            return
        try:
            self._calls.put_nowait(call)
        except Full:
            self._fail(f"fell {WAITING:,} calls behind")

    def close(self, seconds: float) -> Tracked:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._fail("had not taken everything when the run was over")
        return Tracked(self._place.name, self._place.where, self._problem)

    def _work(self) -> None:
        try:
            tracker = self._place.open()
            while (call := self._calls.get()) and not self._problem:
                call(tracker)
        except Exception as error:  # anything a library or a server comes up with
            self._fail(_said(error))

    def _fail(self, problem: str) -> None:
        with self._lock:
            if self._problem:
                return
            self._problem = problem
        _log.warning("%s: %s. The run goes on without it.", self._place.name, problem)


def _said(error: Exception) -> str:
    """Return what happened in one line, without names and passwords in addresses."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return _SECRET.sub("", text)[:SHOWN].rstrip(". ")


def _scalars(entry: Mapping[str, float]) -> Scalars:
    """Return what was logged at a step, under the names that trackers show."""
    validation = {name[5:]: value for name, value in entry.items() if name.startswith("eval_")}
    train = {name: entry[name] for name in ("loss", "learning_rate", "grad_norm") if name in entry}
    return _named("train", train) | _named("validation", validation)


def _named(section: str, values: Mapping[str, float]) -> dict[str, float]:
    return {
        _ILLEGAL.sub("_", f"{section}/{name}"): float(value)
        for name, value in values.items()
        if math.isfinite(value)
    }
