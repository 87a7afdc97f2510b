"""What tells one catalog from another, and an older copy from a newer one."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Give the catalog an id, and count its changes."""
    op.add_column("generation", sa.Column("catalog", sa.String(32), nullable=False, server_default=""))
    op.add_column("generation", sa.Column("changes", sa.Integer, nullable=False, server_default="0"))
    op.execute(sa.text("UPDATE generation SET catalog = :id").bindparams(id=uuid4().hex))
