"""The catalog's tables of training jobs and their events.

A run of a job owns it by a random id in `owner`. Each change by a run is made in a transaction that finds
this id and a status that has not ended: a cancelled job, or one that another run has taken, is left alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.errors import Conflict, NotFound, Overloaded
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import JobEventRow, JobRow
from hub.store.jobs.pages import page_of
from hub.store.jobs.records import (
    ACTIVE,
    Event,
    EventKind,
    JobSpec,
    JobStatus,
    Level,
    LostJob,
    Page,
    TrainingJob,
)

__all__ = ["Jobs", "NewEvent", "uses_file"]

MAX_EVENTS = 2000  # of one job
_MAX_MESSAGE = 2000  # characters
_DIGITS = 10  # no event has a number of so many


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to add; `data` is JSON."""

    message: str
    data: Mapping[str, Any] | None = None
    level: Level = Level.INFO
    kind: EventKind = EventKind.MESSAGE


class Jobs:
    """The jobs of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def create(self, spec: JobSpec, most: int) -> TrainingJob:
        """Add a job.

        Raises:
            Overloaded: `most` jobs are unfinished.
        """
        with self._catalog.write() as session:
            waiting = session.scalar(select(func.count()).where(JobRow.status.in_(ACTIVE))) or 0
            if waiting >= most:
                raise Overloaded(
                    f"{waiting} jobs are not finished, and {most} may be (jobs.queued). Try later."
                )
            row = JobRow(
                id=f"ftjob-{secrets.token_hex(12)}",
                status=JobStatus.VALIDATING,
                spec=json.dumps(asdict(spec), ensure_ascii=False),
                created=_now(),
                attempts=0,
            )
            session.add(row)
            session.flush()
            _note(session, row.id, NewEvent("Created; the files are checked next."))
            return _job_of(row)

    def get(self, id: str) -> TrainingJob:
        """Return a job.

        Raises:
            NotFound: there is none with that id.
        """
        with self._catalog.read() as session:
            return _job_of(_row(session, id))

    def page(self, page: Page, metadata: Mapping[str, str] | None = None) -> list[TrainingJob]:
        """Return jobs, newest first; one more than `page.limit` if others follow.

        With `metadata`, only jobs that were created with these values.

        Raises:
            NotFound: `page.after` is the id of no job.
        """
        wanted = (metadata or {}).items()

        def has(row: JobRow) -> bool:
            return wanted <= (_job_of(row).spec.asked.get("metadata") or {}).items()

        keep = has if wanted else None
        with self._catalog.read() as session:
            return [_job_of(row) for row in page_of(session, select(JobRow), JobRow, page, "job", keep=keep)]

    def active(self) -> list[TrainingJob]:
        """Return the unfinished jobs, oldest first."""
        query = select(JobRow).where(JobRow.status.in_(ACTIVE)).order_by(JobRow.created, JobRow.id)
        with self._catalog.read() as session:
            return [_job_of(row) for row in session.scalars(query)]

    def events(self, id: str, page: Page, kinds: Sequence[EventKind]) -> list[Event]:
        """Return events of a job, newest first; one more than `page.limit` if others follow.

        Raises:
            NotFound: there is no such job, or `page.after` is the number of none of its events.
        """
        query = select(JobEventRow).where(JobEventRow.job == id, JobEventRow.kind.in_(kinds))
        with self._catalog.read() as session:
            _row(session, id)
            if page.after is not None:
                number = int(page.after) if page.after.isdecimal() and len(page.after) < _DIGITS else 0
                last = session.get(JobEventRow, number)
                if last is None or last.job != id:
                    raise NotFound(f"The job {id} has no event {page.after[:64]!r}, which `after` names.")
                query = query.where(JobEventRow.id < last.id)
            rows = session.scalars(query.order_by(JobEventRow.id.desc()).limit(page.limit + 1))
            return [_event_of(row) for row in rows]

    def cancel(self, id: str) -> TrainingJob:
        """Cancel a job; the run that works on it sees that and ends.

        Raises:
            NotFound: there is none with that id.
            Conflict: it has ended, or its version is being stored.
        """
        with self._catalog.write() as session:
            row = _row(session, id)
            if row.status == JobStatus.STORING:
                raise Conflict(f"The job {id} is storing its version and ends in a moment.")
            if row.status not in ACTIVE:
                raise Conflict(f"The job {id} has ended already: it is {row.status}.")
            _end(row, JobStatus.CANCELLED)
            _note(session, id, NewEvent("Cancelled."))
            return _job_of(row)

    def take(self, id: str, owner: str) -> TrainingJob | None:
        """Begin or continue a job as `owner`; None if it has ended.

        The caller holds the lock of the job on the machine that has its files, so no other run works on it.
        """
        with self._catalog.write() as session:
            row = _row(session, id)
            if row.status not in ACTIVE:
                return None
            row.owner, row.attempts = owner, row.attempts + 1
            if row.status == JobStatus.STORING:
                row.status = JobStatus.RUNNING
            if row.started and row.status == JobStatus.RUNNING:
                _note(session, id, NewEvent("The job goes on from its last checkpoint.", level=Level.WARN))
            return _job_of(row)

    def release(self, id: str, owner: str) -> None:
        """Let another run take a job, as if this one had not: the server stops.

        Raises:
            LostJob: as for `advance`.
        """
        with self._catalog.write() as session:
            row = _owned(session, id, owner)
            row.owner, row.attempts = None, row.attempts - 1
            _note(
                session,
                id,
                NewEvent("The server stops; the job goes on when it runs again.", level=Level.WARN),
            )

    def advance(self, id: str, owner: str, status: JobStatus) -> None:
        """Set the status of a job that has not ended.

        Raises:
            LostJob: it was cancelled, or `owner` does not own it any more.
        """
        with self._catalog.write() as session:
            row = _owned(session, id, owner)
            row.status = status
            if status is JobStatus.RUNNING and row.started is None:
                row.started = _now()

    def finish(
        self,
        id: str,
        owner: str,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        event: NewEvent,
    ) -> None:
        """End a job with a result or an error.

        Raises:
            LostJob: as for `advance`.
        """
        with self._catalog.write() as session:
            row = _owned(session, id, owner)
            _end(row, JobStatus.FAILED if error else JobStatus.SUCCEEDED)
            row.result = json.dumps(result, ensure_ascii=False) if result else None
            row.error = json.dumps(error, ensure_ascii=False) if error else None
            _note(session, id, event)

    def note(self, id: str, owner: str, events: Iterable[NewEvent]) -> None:
        """Add events, at most MAX_EVENTS for a job.

        Raises:
            LostJob: as for `advance`.
        """
        with self._catalog.write() as session:
            _owned(session, id, owner)
            count = session.scalar(select(func.count()).where(JobEventRow.job == id)) or 0
            for event in list(events)[: max(0, MAX_EVENTS - count)]:
                _note(session, id, event)


def uses_file(session: Session, file: str) -> str | None:
    """Return the id of an unfinished job that reads a file, or None."""
    for row in session.scalars(select(JobRow).where(JobRow.status.in_(ACTIVE))):
        spec = _job_of(row).spec
        if file in (spec.training_file, spec.validation_file):
            return row.id
    return None


def _row(session: Session, id: str) -> JobRow:
    row = session.get(JobRow, id)
    if row is None:
        raise NotFound(f"No job has the id {id[:64]!r}. `hub jobs list` shows them.")
    return row


def _owned(session: Session, id: str, owner: str) -> JobRow:
    row = _row(session, id)
    if row.owner != owner or row.status not in ACTIVE:
        raise LostJob(f"The job {id} is {row.status}, or another process works on it.")
    return row


def _end(row: JobRow, status: JobStatus) -> None:
    row.status, row.finished, row.owner = status, _now(), None


def _note(session: Session, id: str, event: NewEvent) -> None:
    session.add(
        JobEventRow(
            job=id,
            kind=event.kind,
            level=event.level,
            message=event.message[:_MAX_MESSAGE],
            data=None if event.data is None else json.dumps(event.data, ensure_ascii=False),
            created=_now(),
        )
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _job_of(row: JobRow) -> TrainingJob:
    return TrainingJob(
        id=row.id,
        status=JobStatus(row.status),
        spec=JobSpec(**json.loads(row.spec)),
        created=datetime.fromisoformat(row.created),
        started=_time(row.started),
        finished=_time(row.finished),
        attempts=row.attempts,
        result=json.loads(row.result) if row.result else {},
        error=json.loads(row.error) if row.error else None,
    )


def _event_of(row: JobEventRow) -> Event:
    return Event(
        id=row.id,
        job=row.job,
        kind=EventKind(row.kind),
        level=Level(row.level),
        message=row.message,
        data=json.loads(row.data) if row.data else None,
        created=datetime.fromisoformat(row.created),
    )
