"""Stored answers and the feedback on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, LargeBinary, Select, cast, delete, func, insert, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import AnswerRow, FeedbackRow

__all__ = ["Answers", "LabelledAnswer", "StoredAnswer", "VersionScore"]

_AT_ONCE = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A version's answer; `response` and `request` are JSON, `request` is None unless texts are kept."""

    request_id: str
    deployment: str
    version: str
    sha256: str
    when: datetime
    response: str
    request: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer with its true label, as JSON values."""

    answer: StoredAnswer
    label: Any
    correct: bool


@dataclass(frozen=True, slots=True)
class VersionScore:
    """The numbers of a version's answers, labelled answers and correct answers."""

    deployment: str
    version: str
    sha256: str
    answers: int
    labelled: int
    correct: int


class Answers:
    """The catalog's tables of answers and feedback."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def keep(self, answers: Sequence[StoredAnswer]) -> None:
        """Write answers; an earlier answer with the same request id is replaced, with its label."""
        latest = {answer.request_id: answer for answer in answers}
        rows = [_row_of(answer) for answer in latest.values()]
        with self._catalog.write() as session:
            for at in range(0, len(rows), _AT_ONCE):
                ids = [row["request_id"] for row in rows[at : at + _AT_ONCE]]
                session.execute(delete(AnswerRow).where(AnswerRow.request_id.in_(ids)))
                session.execute(insert(AnswerRow), rows[at : at + _AT_ONCE])

    def find(self, request_id: str) -> StoredAnswer | None:
        """Return the answer to a request, if it is kept."""
        with self._catalog.read() as session:
            row = session.get(AnswerRow, request_id)
            return _answer_of(row) if row else None

    def label(
        self, request_id: str, label: Any, right: Callable[[dict[str, Any], Any], bool]
    ) -> LabelledAnswer | None:
        """Set the label of an answer; it replaces an earlier one. None if the answer is not kept.

        `right` compares the response with the label.
        """
        with self._catalog.write() as session:
            row = session.get(AnswerRow, request_id)
            if row is None:
                return None
            answer = _answer_of(row)
            given = LabelledAnswer(answer, label, right(json.loads(answer.response), label))
            when = datetime.now(UTC).isoformat(timespec="microseconds")
            text = json.dumps(label, ensure_ascii=False)
            session.merge(FeedbackRow(request_id=request_id, label=text, correct=given.correct, when=when))
            return given

    def scores(self, deployment: str | None = None) -> list[VersionScore]:
        """Return the scores of the versions of one deployment or of all, latest answer first."""
        labelled = func.count(FeedbackRow.request_id)
        correct = func.coalesce(func.sum(cast(FeedbackRow.correct, Integer)), 0)
        columns = (AnswerRow.deployment, AnswerRow.version, AnswerRow.sha256)
        query = (
            select(*columns, func.count(), labelled, correct)
            .join(FeedbackRow, FeedbackRow.request_id == AnswerRow.request_id, isouter=True)
            .where(_of(deployment))
            .group_by(*columns)
            .order_by(AnswerRow.deployment, func.max(AnswerRow.when).desc())
        )
        with self._catalog.read() as session:
            return [VersionScore(*row) for row in session.execute(query)]

    def rated(self, deployment: str, since: datetime) -> dict[str, tuple[int, int]]:
        """Return the numbers of labelled and correct answers since then, by the version's sha256."""
        query = (
            select(AnswerRow.sha256, func.count(), func.sum(cast(FeedbackRow.correct, Integer)))
            .join(FeedbackRow, FeedbackRow.request_id == AnswerRow.request_id)
            .where(AnswerRow.deployment == deployment, AnswerRow.when >= _text(since))
            .group_by(AnswerRow.sha256)
        )
        with self._catalog.read() as session:
            return {sha256: (labelled, correct) for sha256, labelled, correct in session.execute(query)}

    def labelled(self, deployment: str) -> Iterator[LabelledAnswer]:
        """Yield the labelled answers of a deployment, oldest first, from one snapshot."""
        query = (
            select(AnswerRow, FeedbackRow.label, FeedbackRow.correct)
            .join(FeedbackRow, FeedbackRow.request_id == AnswerRow.request_id)
            .where(AnswerRow.deployment == deployment)
            .order_by(AnswerRow.when, AnswerRow.request_id)
        )
        with self._catalog.read() as session:
            for row, label, correct in session.execute(query).yield_per(_AT_ONCE):
                yield LabelledAnswer(_answer_of(row), json.loads(label), correct)

    def prune(self, days: float, rows: int, most_bytes: int | None = None) -> int:
        """Remove answers older than `days` and all but the newest `rows`, with their labels.

        `most_bytes` limits the total size of their JSON; computing it reads all of it.
        """
        oldest = _text(_days_ago(days))
        with self._catalog.read() as session:
            past = session.scalar(
                select(AnswerRow.when).order_by(AnswerRow.when.desc()).offset(rows).limit(1)
            )
            if most_bytes is not None:
                too_much: str | None = session.scalar(self._past_bytes(most_bytes))
                past = max(past or "", too_much or "")
            expired = (AnswerRow.when <= past) if past and past > oldest else (AnswerRow.when < oldest)
            if session.scalar(select(AnswerRow.request_id).where(expired).limit(1)) is None:
                return 0
        with self._catalog.write() as session:
            return _removed(session, expired)

    def _past_bytes(self, most: int) -> Select[Any]:
        """Select the time of the newest answer at which the running total exceeds `most` bytes."""

        def size(column: InstrumentedAttribute[Any]) -> ColumnElement[int]:
            if self._catalog.is_file:
                return func.coalesce(func.length(cast(column, LargeBinary)), 0)
            return func.coalesce(func.octet_length(column), 0)

        newest_first = (AnswerRow.when.desc(), AnswerRow.request_id)
        total = func.sum(size(AnswerRow.response) + size(AnswerRow.request)).over(order_by=newest_first)
        totals = select(AnswerRow.when.label("when"), total.label("total")).subquery()
        return select(func.max(totals.c.when)).where(totals.c.total > most)

    def clear(self, deployment: str | None = None) -> int:
        """Remove the answers and labels of one deployment or of all; return the number of answers."""
        with self._catalog.write() as session:
            return _removed(session, _of(deployment))


def _removed(session: Session, where: ColumnElement[bool]) -> int:
    # The foreign key deletes the labels as well.
    gone = session.execute(delete(AnswerRow).where(where).returning(AnswerRow.request_id))
    return len(gone.all())


def _of(deployment: str | None) -> ColumnElement[bool]:
    return true() if deployment is None else AnswerRow.deployment == deployment


def _row_of(answer: StoredAnswer) -> dict[str, Any]:
    return {
        "request_id": answer.request_id,
        "deployment": answer.deployment,
        "version": answer.version,
        "sha256": answer.sha256,
        "when": _text(answer.when),
        "response": answer.response,
        "request": answer.request,
    }


def _answer_of(row: AnswerRow) -> StoredAnswer:
    return StoredAnswer(
        request_id=row.request_id,
        deployment=row.deployment,
        version=row.version,
        sha256=row.sha256,
        when=datetime.fromisoformat(row.when),
        response=row.response,
        request=row.request,
    )


def _days_ago(days: float) -> datetime:
    """Return the time so many days ago; the first there is if that is before it, as for no limit."""
    try:
        return datetime.now(UTC) - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")
