"""The values that the tables of files and jobs return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "ACTIVE",
    "Event",
    "EventKind",
    "JobSpec",
    "JobStatus",
    "Level",
    "LostJob",
    "Page",
    "TrainingJob",
    "UploadedFile",
]

Json = dict[str, Any]


class JobStatus(StrEnum):
    """The state of a job, in this order; STORING is RUNNING that can no longer be cancelled."""

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    STORING = "storing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (JobStatus.VALIDATING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.STORING)


class EventKind(StrEnum):
    """What an event tells."""

    MESSAGE = "message"
    METRICS = "metrics"
    CHECKPOINT = "checkpoint"


class Level(StrEnum):
    """How serious an event is."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: at most `limit` entries after the one with the id `after`."""

    limit: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """An uploaded file; `format` is one that `hub.data` reads, and `rows` the number of its rows."""

    id: str
    filename: str
    format: str
    purpose: str
    bytes: int
    rows: int
    created: datetime
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job trains: checked when it was created.

    `recipe` holds keys of a recipe by dotted path, `deploy` the deployment that a good version is put live
    under, and `asked` the fields of the request that are only shown again.
    """

    base: str
    task: str
    name: str
    training_file: str
    validation_file: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    rate_multiplier: float | None = None
    deploy: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job. `result` is {} until a version is stored, `error` None unless the job failed."""

    id: str
    status: JobStatus
    spec: JobSpec
    created: datetime
    started: datetime | None
    finished: datetime | None
    attempts: int
    result: Json
    error: Json | None

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a job."""

    id: int
    job: str
    kind: EventKind
    level: Level
    message: str
    data: Json | None
    created: datetime


class LostJob(Exception):
    """The job has ended, or another run works on it."""
