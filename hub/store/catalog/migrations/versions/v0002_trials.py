"""Canaries and shadows, replicas, tallies, feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what trials of a version need, and the tables of replicas and feedback."""
    for column in (
        sa.Column("canary_id", sa.Integer, sa.ForeignKey("versions.id", name="fk_canary")),
        sa.Column("canary_percent", sa.Float),
        sa.Column("canary_guard", sa.String),
        sa.Column("shadow_id", sa.Integer, sa.ForeignKey("versions.id", name="fk_shadow")),
        sa.Column("trial", sa.Integer),
    ):
        op.add_column("deployments", column, inline_references=True)
    op.add_column("moves", sa.Column("kind", sa.String(16), nullable=False, server_default="deploy"))
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
