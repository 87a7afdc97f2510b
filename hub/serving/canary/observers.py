"""The observers of a server: guards of canaries, the answer log, the check of the disk, and plugins'."""

from __future__ import annotations

from typing import Any

from hub.config import FeedbackSettings
from hub.registry.extensions import Extensions
from hub.serving.canary.answer_log import AnswerLog
from hub.serving.canary.counts import Counts
from hub.serving.canary.watchdog import Deployer, Guards
from hub.serving.disk import Disk
from hub.serving.meter import Meter
from hub.serving.observation import Observation
from hub.serving.plugins.event_observers import EventObservers
from hub.store.catalog.feedback import Answers
from hub.store.catalog.replicas import Replicas
from hub.store.records import Deployment
from hub.store.store import Store

__all__ = ["Observers"]


class Observers:
    """The `Observer` of a server; `events` are those of plugins, which are told of more."""

    def __init__(
        self,
        store: Store,
        settings: FeedbackSettings,
        replica: str,
        deployer: Deployer,
        meter: Meter,
        extensions: Extensions,
    ) -> None:
        self.events = EventObservers(extensions, meter)
        self._counts = Counts()
        replicas = Replicas(store.catalog)
        self.answers = AnswerLog(
            Answers(store.catalog), settings, meter, lambda: all(one.id == replica for one in replicas.live())
        )
        self.guards = Guards(store, replica, deployer, self._counts, self.answers.keeps)
        self._disk = Disk(store.home)

    def start(self) -> None:
        """Start the background tasks."""
        self.events.start()
        self.guards.start()
        self.answers.start()
        self._disk.start()

    def stop(self) -> None:
        """Stop them, and write their data if the catalog is available."""
        self._disk.stop()
        self.guards.stop()
        self.answers.stop()
        self.events.stop()

    def wants(self, deployment: Deployment) -> bool:
        return deployment.trial is not None or self.answers.keeps

    def observe(self, seen: Observation) -> None:
        self._counts.count(seen)
        self.answers.take(seen)

    def describe(self) -> dict[str, Any]:
        """Describe the guards, the answer log, the disk and the observers of plugins as JSON values."""
        return {
            "guards": self.guards.describe(),
            "feedback": self.answers.describe(),
            "disk": self._disk.describe(),
            "observers": self.events.describe(),
        }
