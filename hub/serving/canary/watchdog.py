"""Watches guarded canaries: counts are saved, added up over replicas, judged, and acted on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hub.errors import Conflict, HubError, NotFound
from hub.serving.background import PeriodicTask
from hub.serving.canary.analysis import CanaryAnalysis, Rated, analyze
from hub.serving.canary.counts import Counts
from hub.store.catalog.counters import Counters, TrialCounts
from hub.store.catalog.feedback import Answers
from hub.store.change import DeploymentChange
from hub.store.guard import Guard, read_guard
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["Deployer", "Guards", "describe_counts"]

log = logging.getLogger(__name__)

LOOK_S = 1.0
BY = "guard"


class Deployer(Protocol):
    """Changes deployments; the runtime does."""

    def promote(self, name: str, change: DeploymentChange, *, seen: int) -> object: ...

    def rollback(self, name: str, change: DeploymentChange, *, seen: int) -> object: ...


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A deployment with a guarded canary, as of its last move."""

    deployment: Deployment
    canary: Version
    trial: int
    guard: Guard
    began: datetime


class Guards:
    """One replica's part in it: any of them may decide, and the catalog lets only the first one move."""

    def __init__(
        self, store: Store, replica: str, deployer: Deployer, counts: Counts, feedback: bool
    ) -> None:
        self._store = store
        self._replica = replica
        self._deployer = deployer
        self._counts = counts
        self._feedback = feedback
        self._counters = Counters(store.catalog)
        self._answers = Answers(store.catalog)
        self._generation = -1
        self._guarded: list[_Guarded] = []
        self._said: dict[str, str] = {}
        self._task = PeriodicTask("Canaries are not watched", self.look, LOOK_S)

    def start(self) -> None:
        """Begin to watch."""
        self._task.start()

    def stop(self) -> None:
        """Save what was counted, if the catalog takes it."""
        self._task.stop()

    def describe(self) -> dict[str, str]:
        """Say of each deployment with a guard how it stands."""
        return dict(self._said)

    def look(self) -> None:
        """Save what was counted, then judge every guarded canary; blocks.

        Raises:
            NotReady: the catalog is gone; nothing that was counted is lost.
        """
        self._save()
        generation = self._store.generation()
        if generation != self._generation:
            self._read()
            self._generation = generation
        for guarded in self._guarded:
            self._analyze(guarded)

    def _save(self) -> None:
        changed = self._counts.changed()
        if not changed:
            return
        try:
            over = self._counters.save(self._replica, changed)
        except BaseException:
            self._counts.again(changed)
            raise
        self._counts.forget(over)

    def _read(self) -> None:
        deployments = self._store.deployments()
        self._guarded, self._said = [], {}
        for deployment in deployments:
            if deployment.canary and deployment.canary.guard and deployment.trial is not None:
                self._take_up(deployment, deployment.canary.version, deployment.trial)
        self._counts.keep_only({(deployment.name, deployment.trial) for deployment in deployments})
        self._counters.prune()

    def _take_up(self, deployment: Deployment, canary: Version, trial: int) -> None:
        try:
            guard = read_guard(deployment.canary.guard if deployment.canary else {})
            moves = self._store.history(deployment.name)
        except NotFound:  # taken away meanwhile
            return
        except HubError as error:
            self._said[deployment.name] = str(error)
            return
        began = next((move.when for move in moves if move.generation == trial), deployment.updated)
        self._guarded.append(_Guarded(deployment, canary, trial, guard, began))

    def _analyze(self, guarded: _Guarded) -> None:
        deployment, guard = guarded.deployment, guarded.guard
        name, stable = deployment.name, deployment.stable
        counted = self._counters.of(name, guarded.trial)
        counter = counted.get(guarded.canary.sha256, TrialCounts())
        rated = self._answers.rated(name, guarded.began) if guard.accuracy is not None else {}
        minutes = (datetime.now(UTC) - guarded.began).total_seconds() / 60
        mine, others = (Rated(*rated.get(version.sha256, (0, 0))) for version in (guarded.canary, stable))
        analysis, reason = analyze(guard, counter, minutes, mine, others)
        off = " (feedback.keep is off here)" if guard.accuracy is not None and not self._feedback else ""
        said = reason + off
        if analysis is not CanaryAnalysis.WAIT:
            beside = describe_counts(counted.get(stable.sha256, TrialCounts()))
            said = self._move(
                guarded, analysis, f"{reason} [canary {describe_counts(counter)}; stable {beside}]"
            )
        self._said[name] = said

    def _move(self, guarded: _Guarded, analysis: CanaryAnalysis, reason: str) -> str:
        """Move the deployment; return why it was, or could not be."""
        name, seen = guarded.deployment.name, guarded.deployment.generation
        change = self._deployer.promote if analysis is CanaryAnalysis.PROMOTE else self._deployer.rollback
        try:
            change(name, DeploymentChange(by=BY, reason=reason), seen=seen)
        except (Conflict, NotFound):  # another replica, or somebody, was first
            return reason
        except HubError as error:  # tried again at the next look
            if self._said.get(name) != str(error):
                log.warning("Guard of %s: no %s: %s", name, analysis, error)
            return str(error)
        log.info("Guard of %s: %s of %s: %s.", name, analysis, guarded.canary.ref, reason)
        return reason


def describe_counts(counter: TrialCounts) -> str:
    """Say in a few words what was counted of a version."""
    agreed = f", {counter.agreed} of {counter.compared} agreed" if counter.compared else ""
    p99 = f", p99 {1000 * counter.quantile(0.99):.3g} ms" if counter.answered else ""
    return f"{counter.requests} requests, {counter.errors} failed{p99}{agreed}"
