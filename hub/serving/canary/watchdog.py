"""Watches guarded canaries: sums the counts of all replicas, analyses them, promotes or rolls back."""

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

CHECK_S = 1.0
BY = "guard"


class Deployer(Protocol):
    """Changes deployments; the runtime implements it."""

    def promote(self, name: str, change: DeploymentChange, *, seen: int) -> object: ...

    def rollback(self, name: str, change: DeploymentChange, *, seen: int) -> object: ...


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A deployment with a guarded canary, as of its last change."""

    deployment: Deployment
    canary: Version
    trial: int
    guard: Guard
    began: datetime


class Guards:
    """One replica's guards. Any replica may decide; the catalog accepts only the first change."""

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
        self._states: dict[str, str] = {}
        self._task = PeriodicTask("Canaries are not watched", self.check, CHECK_S)

    def start(self) -> None:
        """Start watching."""
        self._task.start()

    def stop(self) -> None:
        """Save the counts, if the catalog is available."""
        self._task.stop()

    def describe(self) -> dict[str, str]:
        """Return the state of each guarded deployment."""
        return dict(self._states)

    def check(self) -> None:
        """Save the counts, then analyse every guarded canary; blocks.

        Raises:
            NotReady: the catalog is unavailable; no counts are lost.
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
            ended = self._counters.save(self._replica, changed)
        except BaseException:
            self._counts.mark_changed(changed)
            raise
        self._counts.forget(ended)

    def _read(self) -> None:
        deployments = self._store.deployments()
        self._guarded, self._states = [], {}
        for deployment in deployments:
            if deployment.canary and deployment.canary.guard and deployment.trial is not None:
                self._add(deployment, deployment.canary.version, deployment.trial)
        self._counts.keep_only({(deployment.name, deployment.trial) for deployment in deployments})
        self._counters.prune()

    def _add(self, deployment: Deployment, canary: Version, trial: int) -> None:
        try:
            guard = read_guard(deployment.canary.guard if deployment.canary else {})
            events = self._store.history(deployment.name)
        except NotFound:  # undeployed meanwhile
            return
        except HubError as error:
            self._states[deployment.name] = str(error)
            return
        began = next((event.when for event in events if event.generation == trial), deployment.updated)
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
        state = reason + off
        if analysis is not CanaryAnalysis.WAIT:
            beside = describe_counts(counted.get(stable.sha256, TrialCounts()))
            state = self._apply(
                guarded, analysis, f"{reason} [canary {describe_counts(counter)}; stable {beside}]"
            )
        self._states[name] = state

    def _apply(self, guarded: _Guarded, analysis: CanaryAnalysis, reason: str) -> str:
        """Change the deployment; return the reason, or that of a failure."""
        name, seen = guarded.deployment.name, guarded.deployment.generation
        change = self._deployer.promote if analysis is CanaryAnalysis.PROMOTE else self._deployer.rollback
        try:
            change(name, DeploymentChange(by=BY, reason=reason), seen=seen)
        except (Conflict, NotFound):  # another replica or a user was first
            return reason
        except HubError as error:  # retried at the next check
            if self._states.get(name) != str(error):
                log.warning("Guard of %s: no %s: %s", name, analysis, error)
            return str(error)
        log.info("Guard of %s: %s of %s: %s.", name, analysis, guarded.canary.ref, reason)
        return reason


def describe_counts(counter: TrialCounts) -> str:
    """Return a summary of the counts of a version."""
    agreed = f", {counter.agreed} of {counter.compared} agreed" if counter.compared else ""
    p99 = f", p99 {1000 * counter.quantile(0.99):.3g} ms" if counter.answered else ""
    return f"{counter.requests} requests, {counter.errors} failed{p99}{agreed}"
