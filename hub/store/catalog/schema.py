"""Migrates the schema of a catalog to this release."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from hub.errors import BadConfig
from hub.store.catalog.migrations import HEAD

__all__ = ["is_current", "migrate"]


def is_current(connection: Connection) -> bool:
    """Return whether the schema is current; cheap, and does not import alembic."""
    return _revision(connection) == HEAD


def migrate(connection: Connection, shown: str) -> None:
    """Run the missing migrations in the transaction of the caller; `shown` names the catalog in errors.

    Raises:
        BadConfig: a newer release wrote it.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision and revision not in known:
        raise BadConfig(f"{shown} was written by a newer GraftHub (schema {revision}): upgrade this one.")
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return str(found) if found else None
