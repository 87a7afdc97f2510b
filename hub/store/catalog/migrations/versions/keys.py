"""API keys and their usage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "keys"
down_revision = "jobs"


def upgrade() -> None:
    """Create the tables, and the count of changes of keys."""
    op.add_column("generation", sa.Column("keys", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(63), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("old_sha256", sa.String(64)),
        sa.Column("old_until", sa.String),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        sa.Column("expires", sa.String),
        sa.Column("revoked", sa.String),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("rows_per_minute", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("weight", sa.Float, nullable=False),
    )
    counts = ("requests", "refused", "errors", "rows", "tokens_in", "tokens_out")
    op.create_table(
        "key_usage",
        sa.Column("caller", sa.String(64), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
    )
