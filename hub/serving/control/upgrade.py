"""Which versions the installed plugins cannot read: asked before an upgrade of a plugin is taken in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.errors import HubError, listed
from hub.registry.host import Registry
from hub.serving.control.fitness import check_fitness, unanswerable
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["UnreadableVersion", "described", "find_unreadable"]


@dataclass(frozen=True, slots=True)
class UnreadableVersion:
    """A version that the plugins cannot serve; if not `certain`, one whose answers may mean something else.

    `live` are the deployments whose stable version it is.
    """

    version: str
    live: tuple[str, ...]
    reason: str
    certain: bool


def find_unreadable(
    store: Store, registry: Registry, distribution: str = "", *, rehearse: int = 0
) -> list[UnreadableVersion]:
    """Compare stored versions with the plugins of `registry`; with `distribution`, those made with it.

    A version cannot be read if no working plugin has its task, or if head, required fields or the format of
    adapters differ. At most `rehearse` of the others whose contract differs, live ones first, answer their
    task's example: one that cannot, with its labels and settings, cannot be read either.
    """
    live: dict[str, list[str]] = {}
    for deployment in store.deployments():
        live.setdefault(str(deployment.stable.ref), []).append(deployment.name)
    found = []
    for version in sorted(store.versions(), key=lambda one: str(one.ref) not in live):
        if distribution and _plugin_of(version, registry) != distribution:
            continue
        reason, certain = _problem(version, registry)
        if reason and not certain and rehearse:
            rehearse -= 1
            if failed := unanswerable(version, registry, store):
                reason, certain = failed, True
        if reason:
            ref = str(version.ref)
            found.append(UnreadableVersion(ref, tuple(live.get(ref, ())), reason, certain))
    return found


def described(versions: Sequence[UnreadableVersion], reasons: int = 3) -> str:
    """Return the names of versions, and why the first of them cannot be read, as sentences."""
    why: Iterable[str] = dict.fromkeys(one.reason for one in versions)
    shown = list(why)[:reasons]
    return " ".join([f"{listed(one.version for one in versions)}.", *shown])


def _plugin_of(version: Version, registry: Registry) -> str:
    """Return the distribution with which a version was made, or else the one of its task; "" if none."""
    if made_with := version.manifest.plugin:
        return made_with.distribution
    try:
        return registry.plugin_of(version.manifest.serving.task).distribution
    except HubError:
        return ""


def _problem(version: Version, registry: Registry) -> tuple[str, bool]:
    """Return why a version does not, or may not, fit, and whether that is certain."""
    try:
        return check_fitness(version, registry), False
    except HubError as error:
        return str(error), True
