"""Alembic's environment: migrates on the connection that `hub.store.catalog.schema` passes in."""

from __future__ import annotations

from alembic import context

from hub.store.catalog.tables import CatalogTable

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=CatalogTable.metadata,
    render_as_batch=True,  # SQLite cannot alter a column
)
context.run_migrations()
