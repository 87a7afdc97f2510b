"""Which versions may go: those not among the newest of their adapter, and not needed by a deployment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hub.errors import Conflict, NotFound
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["Kept", "RemovalPlan", "plan_removal", "remove_planned"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that stays although it is old, and why."""

    version: Version
    reason: str


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """The versions to remove, oldest first, the old ones that stay, and the bytes that are freed."""

    remove: tuple[Version, ...]
    keep: tuple[Kept, ...]
    bytes: int


def plan_removal(store: Store, keep_last: int, name: str | None = None) -> RemovalPlan:
    """Plan to keep the newest `keep_last` versions of each adapter, or of `name`, and what is deployed.

    Raises:
        NotFound: there is no adapter of that name.
    """
    if name is not None:
        store.get(name)  # says which names there are
    versions, needed = store.versions(name), _needed(store.deployments())
    by_name: defaultdict[str, list[Version]] = defaultdict(list)
    for version in versions:
        by_name[version.name].append(version)
    old = [
        version
        for one in by_name.values()
        for version in sorted(one, key=_number)[: max(0, len(one) - keep_last)]
    ]
    remove = [version for version in old if str(version.ref) not in needed]
    keep = [Kept(version, needed[str(version.ref)]) for version in old if str(version.ref) in needed]
    return RemovalPlan(tuple(remove), tuple(keep), _freed(store, remove))


def remove_planned(store: Store, plan: RemovalPlan) -> list[Version]:
    """Remove the versions of a plan; one that was deployed or removed meanwhile is left alone."""
    removed = []
    for version in plan.remove:
        try:
            removed.append(store.remove(version.ref))
        except (Conflict, NotFound):
            continue
    return removed


def _number(version: Version) -> int:
    return version.number


def _needed(deployments: Iterable[Deployment]) -> dict[str, str]:
    """Return the versions that deployments need, with the reason."""
    needed: dict[str, str] = {}
    for one in deployments:
        canary = one.canary.version if one.canary else None
        roles = (("live", one.stable), ("canary", canary), ("shadow", one.shadow), ("previous", one.previous))
        for role, version in roles:
            if version:
                needed.setdefault(str(version.ref), f"{role} in {one.name}")
    return needed


def _freed(store: Store, remove: Iterable[Version]) -> int:
    """Add up the files of contents that no other version has."""
    gone = {str(version.ref) for version in remove}
    used = {version.sha256 for version in store.versions() if str(version.ref) not in gone}
    unused = {version.sha256: version.path for version in remove if version.sha256 not in used}
    files = (file for path in unused.values() if path.is_dir() for file in path.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())
