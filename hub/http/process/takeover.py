"""A worker that takes the place of another: what it must be able to serve before it accepts requests.

The previous worker says what it cannot serve itself; the new one may not be worse.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.errors import DeploymentsLost, RequiredPluginFailed, VersionsUnreadable
from hub.http.process.worker_config import Handover
from hub.serving.control.upgrade import UnreadableVersion, described, find_unreadable
from hub.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.serving.runtime import Runtime

__all__ = ["check_plugins", "check_served", "first_victim", "what_is_broken"]

log = logging.getLogger(__name__)

_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_VICTIM = 900  # of 1000: when memory runs out, the system ends this process before others


def what_is_broken(runtime: Runtime) -> dict[str, list[str]]:
    """Return the deployments and the versions that this process cannot serve; blocks.

    Raises:
        NotReady: it is still loading, or the catalog cannot be reached.
    """
    found = find_unreadable(runtime.store, runtime.registry)
    unreadable = sorted(one.version for one in found if one.certain)
    return {"broken": sorted(runtime.router.routes.broken), "unreadable": unreadable}


def check_plugins(runtime: Runtime, handover: Handover) -> None:
    """Check the plugins of a runtime that is not started, before anything is loaded; blocks.

    Raises:
        RequiredPluginFailed: a plugin of plugins.required cannot be used.
        DeploymentsLost: a live version cannot be read any more, and that is not forced.
        VersionsUnreadable: other versions cannot be read any more, and that is not accepted.
        NotReady: the catalog cannot be reached.
    """
    settings = runtime.settings
    if faults := runtime.registry.required_faults(settings.plugins.required):
        raise RequiredPluginFailed(" ".join(faults))
    store = Store.of(settings)
    try:
        found = find_unreadable(store, runtime.registry)
    finally:
        store.close()
    new = [one for one in found if one.certain and one.version not in handover.unreadable]
    lost = {name: one.reason for one in new for name in one.live}
    _refuse_lost(lost, handover)
    _refuse_unreadable([one for one in new if not one.live], handover)
    for one in found:
        if one.version not in handover.unreadable:
            log.warning("%s may not fit the installed plugins: %s", one.version, one.reason)


def check_served(runtime: Runtime, handover: Handover) -> None:
    """Check what a started runtime serves.

    Raises:
        NotReady: it could not start.
        DeploymentsLost: it cannot serve a deployment that the previous worker serves, and that is not forced.
    """
    broken = runtime.router.routes.broken
    _refuse_lost({name: reason for name, reason in broken.items() if name not in handover.broken}, handover)


@contextmanager
def first_victim() -> Iterator[None]:
    """Let the system end this process, and not one that serves, if memory runs out during the block."""
    before = ""
    with suppress(OSError):  # only Linux has it
        before = _SCORE.read_text(encoding="ascii")
        _SCORE.write_text(str(max(_FIRST_VICTIM, int(before))), encoding="ascii")
    yield
    with suppress(OSError):
        if before:
            _SCORE.write_text(before, encoding="ascii")


def _refuse_lost(lost: dict[str, Any], handover: Handover) -> None:
    if not lost or handover.force:
        return
    reasons = [f"{name}: {reason}" for name, reason in sorted(lost.items())]
    raise DeploymentsLost(
        f"Live deployments would not be served any more. {' '.join(reasons[:5])}"
        f"{f' And {len(reasons) - 5} more.' if len(reasons) > 5 else ''} Deploy other versions or undeploy "
        "them first, or add --force."
    )


def _refuse_unreadable(versions: Sequence[UnreadableVersion], handover: Handover) -> None:
    if versions and not (handover.accept or handover.force):
        raise VersionsUnreadable(
            f"The installed plugins cannot read stored versions that the running ones can: "
            f"{described(versions)} To go on, add --yes."
        )
