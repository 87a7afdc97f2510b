"""Trackers of training runs: settings at the start, values by step, metrics and tags at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

RunStatus = Literal["finished", "failed", "interrupted"]
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

    status: RunStatus
    step: int
    metrics: Scalars
    tags: Mapping[str, str]


class RunLog(Protocol):
    """Called in order, from a thread of its own; an exception ends the log, not the run."""

    def start(self, run: Begun) -> None: ...

    def scalars(self, step: int, values: Scalars) -> None: ...

    def end(self, run: Ended) -> None: ...


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run to track: the state folder, the adapter, the name of the run, and the recipe's `report` keys."""

    home: Path
    group: str
    name: str
    experiment: str
    mlflow_uri: str = ""


@dataclass(frozen=True, slots=True)
class TrackerSpec(ExtensionSpec):
    """A tracker; its name is a value of the recipe's `report.trackers`."""


class Tracker(Extension[SettingsT], ABC):
    """Opens the log of each run; it never receives texts."""

    def check(self) -> None:
        """Raise an error of `hub.api` before the run if it could not be tracked."""

    def where(self, run: TrackedRun) -> str:
        """Return the folder or the address of the log for people, without passwords."""
        return ""

    @abstractmethod
    def open(self, run: TrackedRun) -> RunLog:
        """Open the log of a run, in the thread that then calls it."""
