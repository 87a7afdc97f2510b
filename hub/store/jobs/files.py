"""Uploaded files: a row in the catalog, and a content in the home under a random name."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.errors import Conflict, NotFound, NotReady, TooLarge
from hub.files import is_older, replacing
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import FileRow
from hub.store.jobs.jobs import uses_file
from hub.store.jobs.pages import page_of
from hub.store.jobs.records import Page, UploadedFile

__all__ = ["Files", "NewFile"]

_CHUNK = 1 << 20
_ORPHAN_S = 3600.0  # longer than any upload takes


@dataclass(frozen=True, slots=True)
class NewFile:
    """An upload; `filename` is shown only, and `format` decides how the content is read."""

    filename: str
    format: str
    purpose: str
    lifetime: timedelta | None = None


class Files:
    """The files of a home; the rows are those of all homes that share the catalog."""

    def __init__(self, catalog: Catalog, home: Path) -> None:
        self._catalog = catalog
        self._folder = home / "files"

    def stage(self, stream: IO[bytes], suffix: str, limit: int | None) -> Path:
        """Copy an upload to a private file that `add` takes or the caller removes.

        Raises:
            TooLarge: it has more than `limit` bytes; None: no limit.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{_new_id()}.{suffix}"
        with replacing(path, private=True, durable=True) as aside, aside.open("wb") as out:
            size = 0
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if limit is not None and size > limit:
                    raise TooLarge(f"The file has more than {limit:,} bytes (jobs.file_bytes).")
                out.write(chunk)
        return path

    def add(self, staged: Path, new: NewFile, rows: int, storage: int | None = None) -> UploadedFile:
        """Record a staged file; `storage` is the limit of all files together, in bytes.

        Raises:
            TooLarge: there is no room; the staged file is removed.
        """
        now = datetime.now(UTC)
        row = FileRow(
            id=staged.stem,
            filename=new.filename,
            format=new.format,
            purpose=new.purpose,
            bytes=staged.stat().st_size,
            rows=rows,
            created=_text(now),
            expires=_text(now + new.lifetime) if new.lifetime else None,
        )
        try:
            with self._catalog.write() as session:
                used = session.scalar(select(func.sum(FileRow.bytes))) or 0
                if storage is not None and used + row.bytes > storage:
                    raise TooLarge(
                        f"The stored files have {used:,} bytes, and {storage:,} are allowed "
                        "(jobs.storage_bytes). Delete files that are not needed."
                    )
                session.add(row)
                session.flush()
                return _file_of(row)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def get(self, id: str) -> UploadedFile:
        """Return a file.

        Raises:
            NotFound: there is none with that id.
        """
        with self._catalog.read() as session:
            return _file_of(_row(session, id))

    def page(
        self, page: Page, purpose: str | None = None, *, oldest_first: bool = False
    ) -> list[UploadedFile]:
        """Return files by time; one more than `page.limit` if others follow.

        Raises:
            NotFound: `page.after` is the id of no file.
        """
        query = select(FileRow).where(FileRow.purpose == purpose) if purpose else select(FileRow)
        with self._catalog.read() as session:
            rows = page_of(session, query, FileRow, page, "file", oldest_first=oldest_first)
            return [_file_of(row) for row in rows]

    def path(self, file: UploadedFile) -> Path:
        """Return the content of a file.

        Raises:
            NotReady: another machine that shares the catalog has it.
        """
        path = self._path(file)
        if not path.is_file():
            raise NotReady(f"The content of {file.id} is on another machine. Ask the server that took it.")
        return path

    def holds(self, file: UploadedFile) -> bool:
        """Return whether this home has the content."""
        return self._path(file).is_file()

    def remove(self, id: str) -> None:
        """Remove a file.

        Raises:
            NotFound: there is none with that id.
            Conflict: an unfinished job reads it.
        """
        with self._catalog.write() as session:
            row = _row(session, id)
            if job := uses_file(session, id):
                raise Conflict(f"The job {job} reads {id}. Cancel it, or wait until it is finished.")
            file = _file_of(row)
            session.delete(row)
        self._path(file).unlink(missing_ok=True)

    def remove_expired(self) -> None:
        """Remove files whose time is over and that no unfinished job reads."""
        query = select(FileRow.id).where(FileRow.expires < _text(datetime.now(UTC)))
        with self._catalog.read() as session:
            ids: Sequence[str] = session.scalars(query).all()
        for id in ids:
            with suppress(Conflict, NotFound):
                self.remove(id)

    def remove_orphans(self) -> None:
        """Remove contents without a row, which an upload left when its server died."""
        if not self._folder.is_dir():
            return
        before = time.time() - _ORPHAN_S
        old = [path for path in self._folder.iterdir() if is_older(path, before)]
        with self._catalog.read() as session:
            known = set(session.scalars(select(FileRow.id)))
        for path in old:
            if path.stem not in known:
                path.unlink(missing_ok=True)

    def _path(self, file: UploadedFile) -> Path:
        return self._folder / f"{file.id}.{file.format}"


def _new_id() -> str:
    return f"file-{secrets.token_hex(12)}"


def _row(session: Session, id: str) -> FileRow:
    row = session.get(FileRow, id)
    if row is None:
        raise NotFound(f"No file has the id {id[:64]!r}. GET /v1/files lists them.")
    return row


def _text(when: datetime) -> str:
    return when.isoformat(timespec="microseconds")


def _file_of(row: FileRow) -> UploadedFile:
    return UploadedFile(
        id=row.id,
        filename=row.filename,
        format=row.format,
        purpose=row.purpose,
        bytes=row.bytes,
        rows=row.rows,
        created=datetime.fromisoformat(row.created),
        expires=datetime.fromisoformat(row.expires) if row.expires else None,
    )
