"""New SQLite catalogs, made in a fifth of the time."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from hub.store.catalog.schema import migrate

__all__ = ["migrate_once"]

_STATEMENTS: list[str] = []  # what the migrations made of the first empty catalog of this process


def migrate_once(connection: Connection, shown: str) -> None:
    """Do what `migrate` does; from the second on, an empty SQLite catalog gets its schema and rows by SQL."""
    if connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
        migrate(connection, shown)
    elif _STATEMENTS:
        for statement in _STATEMENTS:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("UPDATE generation SET catalog = ?", (uuid4().hex,))
    else:
        migrate(connection, shown)
        lines = connection.connection.driver_connection.iterdump()
        _STATEMENTS.extend(line for line in lines if line not in ("BEGIN TRANSACTION;", "COMMIT;"))
