"""Adapters, versions, deployments, moves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables, and the triggers that keep moves from being changed."""
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
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("stable_id", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("previous_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("updated", sa.String, nullable=False),
    )
    op.create_table(
        "moves",
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("when", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("after", sa.String),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("ix_moves_deployment", "moves", ["deployment"])
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.bulk_insert(generation, [{"id": 1, "value": 0}])
    for statement in _only_added(op.get_bind().dialect.name):
        op.execute(statement)


def _only_added(dialect: str) -> list[str]:
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER moves_no_{verb.lower()} BEFORE {verb} ON moves "
            "BEGIN SELECT RAISE(ABORT, 'moves are only ever added'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE FUNCTION moves_only_added() RETURNS trigger AS "
        "$$ BEGIN RAISE EXCEPTION 'moves are only ever added'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER moves_only_added BEFORE UPDATE OR DELETE ON moves "
        "FOR EACH ROW EXECUTE FUNCTION moves_only_added()",
    ]
