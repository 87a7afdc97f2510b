"""Counts the requests of deployments with a trial, in memory until the counts are saved to the catalog."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator

from hub.errors import BadRequest, Forbidden, HubError, NotReady, Overloaded, Unauthorized
from hub.serving.observation import Observation, Track
from hub.store.catalog.counters import TrialCounts, TrialKey
from hub.store.records import Version

__all__ = ["Counts"]


class Counts:
    """One replica's counters, complete since the start of each trial.

    Client errors and overload are not counted, because the version did not cause them. Memory grows with the
    number of trials, not of requests, also while the catalog is unavailable.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[TrialKey, TrialCounts] = {}
        self._changed: set[TrialKey] = set()

    def count(self, seen: Observation) -> None:
        """Count one request; quick enough for the event loop."""
        trial = seen.deployment.trial
        if trial is None or seen.error in _NOT_COUNTED:
            return
        with self._lock:
            counter = self._of(seen, seen.version, trial)
            if seen.error:
                counter.fail()
            else:
                counter.answer(seen.seconds)
            if seen.agreed is not None and seen.beside:
                tried = seen.version if seen.track is Track.CANARY else seen.beside
                self._of(seen, tried, trial).compare(seen.agreed)

    def changed(self) -> dict[TrialKey, TrialCounts]:
        """Return a copy of the counters that changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return {key: self._counters[key].copy() for key in changed if key in self._counters}

    def mark_changed(self, keys: Collection[TrialKey]) -> None:
        """Return these from `changed` again, because they could not be saved."""
        with self._lock:
            self._changed.update(keys)

    def forget(self, keys: Collection[TrialKey]) -> None:
        """Remove the counters of trials that have ended."""
        with self._lock:
            for key in keys:
                self._counters.pop(key, None)
                self._changed.discard(key)

    def keep_only(self, trials: Collection[tuple[str, int | None]]) -> None:
        """Remove all but these trials, given by deployment and generation."""
        with self._lock:
            ended = [key for key in self._counters if (key.deployment, key.trial) not in trials]
        self.forget(ended)

    def _of(self, seen: Observation, version: Version, trial: int) -> TrialCounts:
        key = TrialKey(seen.deployment.name, trial, version.sha256)
        self._changed.add(key)
        return self._counters.setdefault(key, TrialCounts())


def _codes(kind: type[HubError]) -> Iterator[str]:
    yield kind.code
    for child in kind.__subclasses__():
        yield from _codes(child)


_NOT_COUNTED = {"cancelled"}.union(*map(_codes, (BadRequest, Unauthorized, Forbidden, Overloaded, NotReady)))
