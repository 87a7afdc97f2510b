"""How a distribution names its tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

from hub.api.rows import HeadKind

ENTRY_POINT_GROUP = "hub.tasks.v1"

hookspec = pluggy.HookspecMarker("hub")
hookimpl = pluggy.HookimplMarker("hub")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task of a plugin; `request`, `response` and `factory` are "package.module:Name"."""

    name: str
    summary: str
    head: HeadKind
    request: str
    response: str
    factory: str


class TaskHooks:
    """Hook specifications of the group `hub.tasks.v1`."""

    @hookspec
    def hub_tasks(self) -> Iterable[TaskSpec]:
        """Yield a TaskSpec for each task this plugin provides."""
        raise AssertionError("a hook specification is never called")
