"""Checks of a canary or shadow before it is loaded, and the stable version after a trial."""

from __future__ import annotations

from hub.errors import Conflict
from hub.store.change import Deploy
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["check_trial", "promoted", "rolled_back"]


def check_trial(
    store: Store,
    name: str,
    version: Version,
    change: Deploy,
    *,
    feedback: bool = True,
    comparable: bool = True,
) -> None:
    """Refuse before anything is loaded what the store would refuse after, and guards that cannot work.

    Without `feedback` no answer is kept that could be labelled. Without `comparable` answers of the task
    contain nothing that could agree.

    Raises:
        NotFound: there is no such deployment to try the version in.
        Conflict: the version is live there, or of another task; or its guard needs labels or agreement that
            cannot exist.
    """
    current, limits = store.deployment(name), change.limits
    if current.stable.ref == version.ref:
        raise Conflict(f"{version.ref} is live in {name!r} already: it cannot be its {change.trial} too.")
    if (task := version.manifest.serving.task) != current.task:
        raise Conflict(f"{name!r} serves the task {current.task!r} and {version.ref} is for {task!r}.")
    if "agreement" in limits and not comparable:
        raise Conflict(
            f"A guard of agreement cannot be kept: answers of the task {task!r} hold only floating-point "
            "numbers, and the task does not say when two agree. Give it a method `agrees`, or guard by "
            "accuracy, error_rate or p99_ms."
        )
    if "accuracy" in limits and not feedback:
        raise Conflict(
            "A guard of accuracy needs labels, and this server keeps no answers to label: set "
            "feedback.keep to 'answers' or 'texts'."
        )


def promoted(deployment: Deployment) -> Version:
    """Return the version that a promotion makes the stable one; the store refuses where there is none."""
    canary = deployment.canary
    return (canary.version if canary else None) or deployment.shadow or deployment.stable


def rolled_back(deployment: Deployment) -> Version:
    """Return the version that is the stable one after a rollback; the store refuses where nothing changes."""
    if deployment.canary or deployment.shadow:
        return deployment.stable
    return deployment.previous or deployment.stable
