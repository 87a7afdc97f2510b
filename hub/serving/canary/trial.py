"""A version tried beside the stable one, as a canary or a shadow, and where a trial ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.errors import BadRequest, Conflict
from hub.serving.canary.guard import read_guard
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["ServingTrial", "promoted", "rolled_back"]


@dataclass(frozen=True, slots=True)
class ServingTrial:
    """What a version is tried as: a canary with a share in percent and perhaps a guard, else a shadow."""

    percent: float | None = None
    guard: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, canary: float | None, shadow: bool, guard: Mapping[str, Any] | None) -> ServingTrial | None:
        """Return what was asked for; None for a plain deploy.

        Raises:
            BadRequest: it makes no sense, or the guard is none.
        """
        if canary is not None and shadow:
            raise BadRequest("A version is tried as a canary or as a shadow, not as both at once.")
        if guard and canary is None:
            raise BadRequest("A guard watches a canary: give the canary a share of the requests too.")
        if canary is None:
            return cls() if shadow else None
        if not 0 <= canary <= 100:
            raise BadRequest(f"A canary gets between 0 and 100 percent of the requests, not {canary:g}.")
        return cls(canary, read_guard(guard).model_dump(mode="json", exclude_unset=True) if guard else {})

    def check(
        self, store: Store, name: str, version: Version, *, feedback: bool = True, comparable: bool = True
    ) -> None:
        """Refuse before anything is loaded what the store would refuse after.

        Without `feedback` no answer is kept that could be labelled. Without `comparable` answers of the task
        hold nothing that could agree.

        Raises:
            NotFound: there is no such deployment to try the version in.
            Conflict: the version is live there, or of another task; or its guard waits for labels or
                agreement that cannot come.
        """
        current = store.deployment(name)
        kind = "shadow" if self.percent is None else "canary"
        if current.stable.ref == version.ref:
            raise Conflict(f"{version.ref} is live in {name!r} already: it cannot be its {kind} too.")
        if (task := version.manifest.serving.task) != current.task:
            raise Conflict(f"{name!r} serves the task {current.task!r} and {version.ref} is for {task!r}.")
        if self.guard.get("agreement") is not None and not comparable:
            raise Conflict(
                f"A guard of agreement cannot be kept: answers of the task {task!r} hold only floating-point "
                "numbers, and the task does not say when two agree. Give it a method `agrees`, or guard by "
                "accuracy, error_rate or p99_ms."
            )
        if self.guard.get("accuracy") is not None and not feedback:
            raise Conflict(
                "A guard of accuracy needs labels, and this server keeps no answers to label: set "
                "feedback.keep to 'answers' or 'texts'."
            )

    def begin(self, store: Store, name: str, version: Version, *, by: str, reason: str) -> Deployment:
        """Make the version the canary or shadow of the deployment in the catalog."""
        if self.percent is None:
            return store.shadow(name, version.ref, by=by, reason=reason)
        return store.canary(name, version.ref, percent=self.percent, guard=self.guard, by=by, reason=reason)


def promoted(deployment: Deployment) -> Version:
    """Return the version that a promotion makes the stable one; the store refuses where there is none."""
    canary = deployment.canary
    return (canary.version if canary else None) or deployment.shadow or deployment.stable


def rolled_back(deployment: Deployment) -> Version:
    """Return the version that is the stable one after a rollback; the store refuses where nothing changes."""
    if deployment.canary or deployment.shadow:
        return deployment.stable
    return deployment.previous or deployment.stable
