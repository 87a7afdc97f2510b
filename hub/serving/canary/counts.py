"""Counts the requests of deployments that try a version: in memory, until the catalog takes them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator

from hub.errors import BadRequest, Forbidden, HubError, NotReady, Overloaded, Unauthorized
from hub.serving.observation import Observation, Track
from hub.store.catalog.counters import TrialCounts, TrialKey
from hub.store.records import Version

__all__ = ["Counts"]


class Counts:
    """One replica's tallies, whole from the start of each trial.

    What a caller sent wrong and what the server had no room for is not counted: no version is to blame.
    It grows with the trials there are, not with requests, also while the catalog is gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[TrialKey, TrialCounts] = {}
        self._changed: set[TrialKey] = set()

    def count(self, seen: Observation) -> None:
        """Count one request; quick enough for the event loop."""
        trial = seen.deployment.trial
        if trial is None or seen.error in _NOBODYS:
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
        """Return a copy of what has changed since it was last asked for."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return {key: self._counters[key].copy() for key in changed if key in self._counters}

    def again(self, keys: Collection[TrialKey]) -> None:
        """Give these out again: they could not be saved."""
        with self._lock:
            self._changed.update(keys)

    def forget(self, keys: Collection[TrialKey]) -> None:
        """Count no further what is over."""
        with self._lock:
            for key in keys:
                self._counters.pop(key, None)
                self._changed.discard(key)

    def keep_only(self, trials: Collection[tuple[str, int | None]]) -> None:
        """Forget all but these trials, given by deployment and generation."""
        with self._lock:
            over = [key for key in self._counters if (key.deployment, key.trial) not in trials]
        self.forget(over)

    def _of(self, seen: Observation, version: Version, trial: int) -> TrialCounts:
        key = TrialKey(seen.deployment.name, trial, version.sha256)
        self._changed.add(key)
        return self._counters.setdefault(key, TrialCounts())


def _codes(kind: type[HubError]) -> Iterator[str]:
    yield kind.code
    for child in kind.__subclasses__():
        yield from _codes(child)


_NOBODYS = frozenset(
    [
        "cancelled",
        *(
            code
            for kind in (BadRequest, Unauthorized, Forbidden, Overloaded, NotReady)
            for code in _codes(kind)
        ),
    ]
)
