"""The plugins that a replica runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "replica_plugins"
down_revision = "keys"


def upgrade() -> None:
    """Add the column; replicas of the previous release report none."""
    op.add_column("replicas", sa.Column("plugins", sa.String, nullable=False, server_default="{}"))
