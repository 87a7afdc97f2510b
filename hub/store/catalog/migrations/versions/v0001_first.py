"""Adapters, versions, deployments and their events, replicas, trial counters, answers and feedback."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables, and the triggers that make the table of events append-only."""
    _create_versions()
    _create_deployments()
    _create_replicas()
    _create_answers()
    for statement in _append_only(op.get_bind().dialect.name):
        op.execute(statement)


def _create_versions() -> None:
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("last_number", sa.Integer, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(63), sa.ForeignKey("adapters.name"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        sa.UniqueConstraint("name", "number"),
        sa.UniqueConstraint("name", "sha256"),
    )
    op.create_index("ix_versions_sha256", "versions", ["sha256"])
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("catalog", sa.String(32), nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
    )
    op.bulk_insert(generation, [{"id": 1, "value": 0, "catalog": uuid4().hex, "changes": 0}])


def _create_deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("stable_id", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("previous_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("canary_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("canary_percent", sa.Float),
        sa.Column("canary_guard", sa.String),
        sa.Column("shadow_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("trial", sa.Integer),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("updated", sa.String, nullable=False),
    )
    op.create_table(
        "deployment_events",
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("when", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("after", sa.String),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("ix_deployment_events_deployment", "deployment_events", ["deployment"])


def _create_replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("started", sa.String, nullable=False),
        sa.Column("seen", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("failures", sa.String, nullable=False),
    )
    op.create_index("ix_replicas_seen", "replicas", ["seen"])
    op.create_table(
        "counters",
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("replica", sa.String(64), primary_key=True),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("compared", sa.Integer, nullable=False),
        sa.Column("agreed", sa.Integer, nullable=False),
        sa.Column("latencies", sa.String, nullable=False),
    )


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("when", sa.String, nullable=False),
        sa.Column("response", sa.String, nullable=False),
        sa.Column("request", sa.String),
    )
    op.create_index("ix_answers_deployment", "answers", ["deployment"])
    op.create_index("ix_answers_when", "answers", ["when"])
    op.create_table(
        "feedback",
        sa.Column(
            "request_id",
            sa.String(64),
            sa.ForeignKey("answers.request_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("correct", sa.Boolean, nullable=False),
        sa.Column("when", sa.String, nullable=False),
    )


def _append_only(dialect: str) -> list[str]:
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON deployment_events "
            "BEGIN SELECT RAISE(ABORT, 'deployment events are append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE FUNCTION events_append_only() RETURNS trigger AS "
        "$$ BEGIN RAISE EXCEPTION 'deployment events are append-only'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON deployment_events "
        "FOR EACH ROW EXECUTE FUNCTION events_append_only()",
    ]
