"""The newest requests of a trial to which its two versions gave different answers, for people to look at."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from hub.serving.observation import Observation

__all__ = ["Disagreement", "Disagreements"]

MAX_KEPT = 20  # of a deployment
MAX_DEPLOYMENTS = 1000


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A request that was answered, beside which another version gave another answer."""

    when: datetime
    seen: Observation


class Disagreements:
    """Keeps disagreements in the memory of this replica; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, deque[Disagreement]] = {}

    def take(self, seen: Observation) -> None:
        """Keep an observation if the two versions differ; quick enough for the event loop."""
        if seen.agreed is not False or seen.deployment.trial is None:
            return
        name = seen.deployment.name
        with self._lock:
            if name not in self._kept and len(self._kept) >= MAX_DEPLOYMENTS:
                del self._kept[next(iter(self._kept))]
            kept = self._kept.setdefault(name, deque(maxlen=MAX_KEPT))
            if kept and kept[-1].seen.deployment.trial != seen.deployment.trial:
                kept.clear()
            kept.append(Disagreement(datetime.now(UTC), seen))

    def of(self, deployment: str, trial: int | None) -> list[Disagreement]:
        """Return those of a trial, newest first."""
        with self._lock:
            kept = list(self._kept.get(deployment, ()))
        return [one for one in reversed(kept) if trial and one.seen.deployment.trial == trial]
