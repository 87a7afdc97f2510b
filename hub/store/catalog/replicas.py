"""The serving processes that report to the catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import ReplicaRow

__all__ = ["SILENT_S", "Replica", "Replicas"]

SILENT_S = 15.0  # without a report for this long, a replica is gone
_REASON = 500  # characters kept of a failure


@dataclass(frozen=True, slots=True)
class Replica:
    """The last report of a serving process; `failures` maps deployments to reasons.

    `plugins` maps `distribution:name` to version and state. `silent_s` is the age of the report by the clock
    of the catalog.
    """

    id: str
    host: str
    pid: int
    url: str
    started: datetime
    silent_s: float
    generation: int
    failures: Mapping[str, str]
    plugins: Mapping[str, tuple[str, str]]


class Replicas:
    """The table of replicas. Its times are the catalog's: clocks of machines need not agree."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def report(
        self,
        id: str,
        *,
        host: str,
        pid: int,
        url: str,
        generation: int,
        failures: Mapping[str, str],
        plugins: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    ) -> None:
        """Write a replica's row, and remove the rows of expired replicas."""
        told = {name: reason[:_REASON] for name, reason in failures.items()}
        with self._catalog.write() as session:
            now = self._now(session)
            seen = _text(now)
            row = session.get(ReplicaRow, id)
            if row is None:
                row = ReplicaRow(id=id, host=host, pid=pid, url=url, started=seen)
                session.add(row)
            row.seen, row.generation, row.failures = seen, generation, json.dumps(told, sort_keys=True)
            row.plugins = json.dumps(dict(plugins), sort_keys=True)
            session.execute(delete(ReplicaRow).where(ReplicaRow.seen < _text(now - _SILENT)))

    def withdraw(self, id: str) -> None:
        """Remove a replica that stops."""
        with self._catalog.write() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.id == id))

    def live(self) -> list[Replica]:
        """Return the replicas that reported recently, longest running first."""
        with self._catalog.read() as session:
            now = self._now(session)
            query = select(ReplicaRow).where(ReplicaRow.seen >= _text(now - _SILENT))
            rows = session.scalars(query.order_by(ReplicaRow.started, ReplicaRow.id))
            return [_replica_of(row, now) for row in rows]

    def _now(self, session: Session) -> datetime:
        if self._catalog.is_file:
            return datetime.now(UTC)
        now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)


_SILENT = timedelta(seconds=SILENT_S)


def _text(when: datetime) -> str:
    return when.isoformat(timespec="microseconds")


def _replica_of(row: ReplicaRow, now: datetime) -> Replica:
    return Replica(
        id=row.id,
        host=row.host,
        pid=row.pid,
        url=row.url,
        started=datetime.fromisoformat(row.started),
        silent_s=max(0.0, (now - datetime.fromisoformat(row.seen)).total_seconds()),
        generation=row.generation,
        failures=json.loads(row.failures),
        plugins={id: (version, state) for id, (version, state) in json.loads(row.plugins).items()},
    )
