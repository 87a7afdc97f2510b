"""The record of one answered request, which guards and the answer log receive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel

from hub.store.records import Deployment, Version

__all__ = ["Observation", "Observer", "Track"]


class Track(StrEnum):
    """The role in which a version answered; PINNED: the caller named the version, whatever its role.

    BASE: it is no version, but a base without an adapter.
    """

    STABLE = "stable"
    CANARY = "canary"
    PINNED = "pinned"
    BASE = "base"

    @property
    def on_trial(self) -> bool:
        """True if its requests count for a trial: callers do not choose them by the version."""
        return self in (Track.STABLE, Track.CANARY)


@dataclass(frozen=True, slots=True)
class Observation:
    """One request of a call and its result.

    `request_id` is that of the HTTP request, with the item's index after a dot if the call has several.
    `error` is the error's code, "" if it was answered; `seconds` is the time of the call. `beside` is the
    version that also ran on the request, if any: the shadow, or stable beside a guarded canary. `agreed`:
    whether both gave the same answer; None if one of them gave none.
    """

    deployment: Deployment
    track: Track
    version: Version
    request_id: str
    seconds: float
    error: str = ""
    request: BaseModel | None = None
    response: BaseModel | None = None
    beside: Version | None = None
    agreed: bool | None = None


class Observer(Protocol):
    """Receives observations on the event loop; must not block or raise.

    An observation may come after the caller has the answer, because a second version is compared later.
    """

    def wants(self, deployment: Deployment) -> bool:
        """Return whether to observe the requests of a deployment; must be quick."""

    def observe(self, seen: Observation) -> None:
        """Receive the record of one request."""
