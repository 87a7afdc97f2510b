"""What is known of an answered request by those that watch how versions do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel

from hub.store.records import Deployment, Version

__all__ = ["NoObserver", "Observation", "Observer", "Track"]


class Track(StrEnum):
    """As what a version answered."""

    STABLE = "stable"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Observation:
    """One request of a call, and what became of it.

    `request_id` is that of the HTTP request, with the item's place after a dot if the call has several.
    `error` is the error's code, "" if it was answered; `seconds` is the call's time. `beside` ran on the
    same request, if any did: the shadow, or the stable version beside a guarded canary; `agreed` says
    whether both gave the same answer, None if one of them gave none.
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
    """Takes observations on the event loop: never blocks and never raises.

    `observe` may hear of a request after its caller has the answer: what ran beside is compared later.
    """

    def wants(self, deployment: Deployment) -> bool:
        """Whether the requests of a deployment are to be observed; asked once a call, so it is quick."""

    def observe(self, seen: Observation) -> None:
        """Take what became of one request."""


class NoObserver:
    """Watches nothing."""

    def wants(self, deployment: Deployment) -> bool:
        return False

    def observe(self, seen: Observation) -> None:
        return
