"""The tables of the catalog. A change here needs a migration in `migrations/versions`; a test compares."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "AdapterRow",
    "AnswerRow",
    "ApiKeyRow",
    "CatalogTable",
    "DeploymentEventRow",
    "DeploymentRow",
    "FeedbackRow",
    "FileRow",
    "GenerationRow",
    "JobEventRow",
    "JobRow",
    "KeyUsageRow",
    "ReplicaRow",
    "TrialCountsRow",
    "VersionRow",
]

Name = String(63)
Hash = String(64)


class CatalogTable(DeclarativeBase):
    """Base of the catalog's tables. Times are UTC in ISO 8601, JSON is text."""


class AdapterRow(CatalogTable):
    """An adapter name and the highest version number it has used; numbers are never reused."""

    __tablename__ = "adapters"
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    last_number: Mapped[int]


class VersionRow(CatalogTable):
    """One immutable version."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("name", "number"), UniqueConstraint("name", "sha256"))
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey("adapters.name"))
    number: Mapped[int]
    sha256: Mapped[str] = mapped_column(Hash, index=True)
    manifest: Mapped[str]  # JSON
    created: Mapped[str]


class DeploymentRow(CatalogTable):
    """A named endpoint: its stable and previous versions, and those on trial."""

    __tablename__ = "deployments"
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    task: Mapped[str]
    stable_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    previous_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    canary_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    canary_percent: Mapped[float | None] = mapped_column(Float)
    canary_guard: Mapped[str | None]  # JSON
    shadow_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    trial: Mapped[int | None]  # generation at which the current canary or shadow began
    generation: Mapped[int]
    updated: Mapped[str]
    stable: Mapped[VersionRow] = relationship(foreign_keys=[stable_id], lazy="joined", innerjoin=True)
    previous: Mapped[VersionRow | None] = relationship(foreign_keys=[previous_id], lazy="joined")
    canary: Mapped[VersionRow | None] = relationship(foreign_keys=[canary_id], lazy="joined")
    shadow: Mapped[VersionRow | None] = relationship(foreign_keys=[shadow_id], lazy="joined")


class DeploymentEventRow(CatalogTable):
    """One change of a deployment. The table is append-only: triggers refuse updates and deletes."""

    __tablename__ = "deployment_events"
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    deployment: Mapped[str] = mapped_column(Name, index=True)
    kind: Mapped[str] = mapped_column(String(16))
    when: Mapped[str]
    who: Mapped[str]
    before: Mapped[str | None]
    after: Mapped[str | None]
    reason: Mapped[str]


class GenerationRow(CatalogTable):
    """The single row that counts deployment events (`value`), changes of keys, and all changes.

    `catalog` is a random id.
    """

    __tablename__ = "generation"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]
    catalog: Mapped[str] = mapped_column(String(32))
    changes: Mapped[int]
    keys: Mapped[int] = mapped_column(server_default="0")


class ReplicaRow(CatalogTable):
    """A serving process: its address, its last heartbeat, and the generation it serves."""

    __tablename__ = "replicas"
    id: Mapped[str] = mapped_column(Hash, primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    url: Mapped[str]
    started: Mapped[str]
    seen: Mapped[str] = mapped_column(index=True)
    generation: Mapped[int]
    failures: Mapped[str]  # JSON: deployment -> reason why its version is not live there
    plugins: Mapped[str] = mapped_column(server_default="{}")  # JSON: plugin -> its version and state


class TrialCountsRow(CatalogTable):
    """Counters of one replica for one version in one trial of a deployment."""

    __tablename__ = "counters"
    deployment: Mapped[str] = mapped_column(Name, primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(Hash, primary_key=True)
    replica: Mapped[str] = mapped_column(Hash, primary_key=True)
    requests: Mapped[int]
    errors: Mapped[int]
    compared: Mapped[int]
    agreed: Mapped[int]
    latencies: Mapped[str]  # JSON: counts by bucket


class AnswerRow(CatalogTable):
    """An answer that can receive feedback; `request` is null unless texts are kept."""

    __tablename__ = "answers"
    request_id: Mapped[str] = mapped_column(Hash, primary_key=True)
    deployment: Mapped[str] = mapped_column(Name, index=True)
    version: Mapped[str]
    sha256: Mapped[str] = mapped_column(Hash)
    when: Mapped[str] = mapped_column(index=True)
    response: Mapped[str]  # JSON
    request: Mapped[str | None]  # JSON


class FeedbackRow(CatalogTable):
    """The true label that a user reported; `correct`: the answer had it."""

    __tablename__ = "feedback"
    request_id: Mapped[str] = mapped_column(
        ForeignKey("answers.request_id", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str]  # JSON
    correct: Mapped[bool]
    when: Mapped[str]


class ApiKeyRow(CatalogTable):
    """An API key; only hashes are stored. A rotated key is valid beside the new one until `old_until`."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Hash, primary_key=True)
    label: Mapped[str] = mapped_column(Name)
    sha256: Mapped[str] = mapped_column(Hash)
    old_sha256: Mapped[str | None] = mapped_column(Hash)
    old_until: Mapped[str | None]
    scopes: Mapped[str]  # separated by spaces
    created: Mapped[str]
    expires: Mapped[str | None]
    revoked: Mapped[str | None]
    requests_per_minute: Mapped[int | None]
    rows_per_minute: Mapped[int | None]
    concurrency: Mapped[int | None]
    weight: Mapped[float] = mapped_column(Float)


class KeyUsageRow(CatalogTable):
    """Counts of one caller on one day (UTC). `caller` is the id of a key, `settings-N` or `anonymous`."""

    __tablename__ = "key_usage"
    caller: Mapped[str] = mapped_column(Hash, primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)


class FileRow(CatalogTable):
    """An uploaded file; its content is in the home that received it."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(Hash, primary_key=True)
    filename: Mapped[str]
    format: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(32), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int]
    created: Mapped[str] = mapped_column(index=True)
    expires: Mapped[str | None]


class JobRow(CatalogTable):
    """A training job; `owner` is the id of the run that works on it."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Hash, primary_key=True)
    status: Mapped[str] = mapped_column(String(16), index=True)
    spec: Mapped[str]  # JSON
    created: Mapped[str] = mapped_column(index=True)
    started: Mapped[str | None]
    finished: Mapped[str | None]
    owner: Mapped[str | None] = mapped_column(Hash)
    attempts: Mapped[int]
    result: Mapped[str | None]  # JSON
    error: Mapped[str | None]  # JSON


class JobEventRow(CatalogTable):
    """A message, the metrics of a step or a checkpoint of a job."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    level: Mapped[str] = mapped_column(String(8))
    message: Mapped[str]
    data: Mapped[str | None]  # JSON
    created: Mapped[str]
