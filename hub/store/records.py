"""Values that the catalog hands out."""

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
    """One immutable version; `path` is its PEFT folder in the store."""

    name: str
    number: int
    sha256: str
    path: Path
    manifest: Manifest
    created: datetime

    @property
    def ref(self) -> VersionRef:
        return VersionRef(self.name, self.number)

    @property
    def info(self) -> AdapterInfo:
        """What the task may read of this version."""
        serving = self.manifest.serving
        return AdapterInfo(self.name, self.number, serving.labels, serving.settings, serving.max_length)


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers a share of a deployment's requests, in percent; `guard` is empty without one."""

    version: Version
    percent: float
    guard: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A named endpoint: the version it serves, the one before, and those on trial.

    `generation` is that of its last move, `trial` that of the move which began the canary or shadow of now.
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
    """One change of a deployment, as it was made; `before` or `after` is None where there was nothing.

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
