"""Observers of requests and of adapters: told of each, beside the way of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

AdapterChange = Literal["loaded", "failed", "evicted", "serves"]


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """One answered or failed request, without its content.

    `version` is "name@N", `track` the role in which it answered: stable, canary, pinned or base. `error` is
    the code of the error, "" if there is an answer; `seconds` is the time of the call.
    """

    deployment: str
    task: str
    version: str
    track: str
    request_id: str
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class AdapterEvent:
    """A version was loaded into a slot, could not be, lost its slot, or is what a deployment serves now.

    `deployment` is that of "serves", `reason` that of "failed", `seconds` the time of a load.
    """

    change: AdapterChange
    version: str
    deployment: str = ""
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ObserverSpec(ExtensionSpec):
    """An observer of a server."""


class EventObserver(Extension[SettingsT]):
    """Told of events in a thread of its own; overrides what it wants.

    Events wait in a bounded queue; while it is full, more are dropped and counted. An observer that keeps
    failing, or does not return, is put aside.
    """

    def request(self, event: RequestEvent) -> None:
        """Take note of a request."""

    def adapter(self, event: AdapterEvent) -> None:
        """Take note of a change of an adapter."""

    def close(self) -> None:
        """Write what is left, because the server stops."""
