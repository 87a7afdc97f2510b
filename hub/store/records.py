"""Values that the catalog hands out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hub.api import AdapterInfo
from hub.names import VersionRef
from hub.store.manifest import Manifest

__all__ = ["Deployment", "Move", "Version"]


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
class Deployment:
    """A named endpoint: the version it serves, the one before, and the generation of its last move."""

    name: str
    task: str
    stable: Version
    previous: Version | None
    generation: int
    updated: datetime


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a deployment, as it was made; `before` or `after` is None where there was nothing."""

    generation: int
    deployment: str
    when: datetime
    who: str
    before: VersionRef | None
    after: VersionRef | None
    why: str
