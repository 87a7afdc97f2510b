"""Pages of a table, newest or oldest entry first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Select, and_, or_
from sqlalchemy.orm import Session

from hub.errors import NotFound
from hub.store.catalog.tables import FileRow, JobRow
from hub.store.jobs.records import Page

__all__ = ["page_of"]

AnyRow = TypeVar("AnyRow", FileRow, JobRow)


def page_of(
    session: Session,
    query: Select[Any],
    table: type[AnyRow],
    page: Page,
    kind: str,
    *,
    oldest_first: bool = False,
    keep: Callable[[AnyRow], bool] | None = None,
) -> list[AnyRow]:
    """Return the rows of a page that `keep` accepts, by time and id.

    There is one more than `page.limit` if others follow.

    Raises:
        NotFound: `page.after` is the id of no row; `kind` is the word for the message.
    """
    when, id = table.created, table.id
    if page.after is not None:
        last: Any = session.get(table, page.after)
        if last is None:
            raise NotFound(f"No {kind} has the id {page.after[:64]!r}, which `after` names.")
        beyond = (when > last.created) if oldest_first else (when < last.created)
        further = (id > last.id) if oldest_first else (id < last.id)
        query = query.where(or_(beyond, and_(when == last.created, further)))
    order = (when.asc(), id.asc()) if oldest_first else (when.desc(), id.desc())
    query = query.order_by(*order)
    if keep is None:
        return list(session.scalars(query.limit(page.limit + 1)))
    return [row for row in session.scalars(query) if keep(row)][: page.limit + 1]
