"""Copies the rows of one catalog to another, whatever databases they are: SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.orm import Session

from hub.errors import Conflict
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import (
    AdapterRow,
    AnswerRow,
    ApiKeyRow,
    CatalogTable,
    DeploymentEventRow,
    DeploymentRow,
    FeedbackRow,
    GenerationRow,
    KeyUsageRow,
    TrialCountsRow,
    VersionRow,
)

__all__ = ["COPIED", "copy_rows"]

COPIED: tuple[type[CatalogTable], ...] = (
    AdapterRow,
    VersionRow,
    DeploymentRow,
    DeploymentEventRow,
    TrialCountsRow,
    AnswerRow,
    FeedbackRow,
    ApiKeyRow,
    KeyUsageRow,
)
"""Not among them: serving processes, which are of the moment, and uploads with their jobs."""
_BATCH = 500


def copy_rows(source: Catalog, target: Catalog) -> dict[str, int]:
    """Copy a snapshot of all rows in one transaction; return their number by table.

    The target keeps its own id, and continues the source's generations.

    Raises:
        Conflict: the target has versions or deployments.
    """
    counts: dict[str, int] = {}
    with source.read() as reading, target.write() as writing:
        for used in (AdapterRow, DeploymentEventRow):
            if writing.scalar(select(func.count()).select_from(used)):
                raise Conflict(f"The catalog {target.shown} is not empty. Restore into a new one.")
        for kind in COPIED:
            counts[kind.__tablename__] = _copy_table(reading, writing, kind)
        if not target.is_file:
            _advance_sequences(writing)
        found = reading.scalars(select(GenerationRow)).one()
        row = writing.scalars(select(GenerationRow)).one()
        row.value, row.keys = found.value, found.keys + 1
        target.changed(writing)
        target.announce(writing)
    return counts


def _copy_table(reading: Session, writing: Session, kind: type[CatalogTable]) -> int:
    table, count = _table(kind), 0
    rows = reading.execute(select(table)).mappings().partitions(_BATCH)
    for part in rows:
        values: list[Mapping[str, Any]] = [dict(row) for row in part]
        writing.execute(insert(table), values)
        count += len(values)
    return count


def _advance_sequences(writing: Session) -> None:
    """PostgreSQL: numbers that were copied must not be given again."""
    for kind in COPIED:
        table = _table(kind)
        for column in table.primary_key.columns:
            if column.autoincrement is not False and column.type.python_type is int:
                name, key = table.name, column.name
                writing.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{name}', '{key}'), "
                        f"GREATEST((SELECT MAX({key}) FROM {name}), 1)) "
                        f"WHERE pg_get_serial_sequence('{name}', '{key}') IS NOT NULL"
                    )
                )


def _table(kind: type[CatalogTable]) -> Table:
    table = kind.__table__
    assert isinstance(table, Table)
    return table
