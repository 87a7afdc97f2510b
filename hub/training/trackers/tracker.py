"""The tracker protocol: settings at the start, values by step, metrics and tags at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Begun", "Ended", "Scalars", "Status", "Tracker"]

Status = Literal["finished", "failed", "interrupted"]
Scalars = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Begun:
    """The start of a run; `group` is the adapter's name, `name` is unique in the group."""

    group: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run; `metrics` are those of the held-out rows, logged at `step`."""

    status: Status
    step: int
    metrics: Scalars
    tags: Mapping[str, str]


class Tracker(Protocol):
    """Called in order, from a thread of its own; an exception ends the tracker, not the run."""

    def start(self, run: Begun) -> None: ...

    def scalars(self, step: int, values: Scalars) -> None: ...

    def end(self, run: Ended) -> None: ...
