"""The values that the catalog returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hub.api import AdapterInfo
from hub.names import VersionRef
from hub.store.manifest import Manifest

__all__ = ["Canary", "Deployment", "DeploymentEvent", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version; `path` is its PEFT folder in the store.

    A `bare` one stands for a base without an adapter: `number` is 0 and `sha256` the base's fingerprint.
    """

    name: str
    number: int
    sha256: str
    path: Path
    manifest: Manifest
    created: datetime

    @property
    def ref(self) -> VersionRef:
        return VersionRef(self.name, self.number or None)

    @property
    def bare(self) -> bool:
        return self.number == 0

    @property
    def info(self) -> AdapterInfo:
        """The part of this version that tasks see."""
        return self.manifest.serving.info(self.name, self.number)


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers `percent` of a deployment's requests; `guard` is empty without one."""

    version: Version
    percent: float
    guard: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A named endpoint: its stable and previous versions, and those on trial.

    `generation` is that of its last event, `trial` that of the event that began the current canary or shadow.
    """

    name: str
    task: str
    stable: Version
    previous: Version | None
    generation: int
    updated: datetime
    canary: Canary | None = None
    shadow: Version | None = None
    trial: int | None = None

    @property
    def versions(self) -> list[Version]:
        """Every version that answers or is run here: stable, canary, shadow."""
        return [
            self.stable,
            *([self.canary.version] if self.canary else []),
            *([self.shadow] if self.shadow else []),
        ]


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """One change of a deployment; `before` or `after` is None where there was no version.

    `kind` is deploy, canary, shadow, promote, rollback or undeploy.
    """

    generation: int
    deployment: str
    kind: str
    when: datetime
    who: str
    before: VersionRef | None
    after: VersionRef | None
    reason: str
