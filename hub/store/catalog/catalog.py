"""The catalog database: SQLAlchemy over SQLite or PostgreSQL."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from sqlalchemy import NullPool, QueuePool, create_engine, event, select
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from hub.errors import BadConfig, BadRequest, HostFault, MissingExtra, NotReady
from hub.store.catalog.schema import is_current, migrate
from hub.store.catalog.tables import GenerationRow
from hub.store.mark import CatalogState

__all__ = ["Catalog", "catalog_url"]

_BUSY_MS = 15_000  # how long a writer waits for another
_CONNECT_S = 5
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRITERS = 0x6772616674  # the advisory lock that writers of a PostgreSQL catalog take in turn
_CHANGED = "changed"  # key of a session's own data
CHANNEL = "grafthub"  # of LISTEN and NOTIFY


class Catalog:
    """A database with one writer at a time and any number of readers, across processes and machines.

    `where` is the path of a SQLite file (kept in WAL mode), or the URL of a PostgreSQL database. `keep_open`:
    connections to the file stay open between transactions, until `close`; for servers, which call
    `write_back` from time to time.

    Raises:
        BadConfig: the URL is not supported, or the database is not a catalog or one of a newer release.
        HostFault: the folder of the file is read-only.
        NotReady: it does not answer.
    """

    def __init__(self, where: Path | str, *, keep_open: bool = False) -> None:
        self.committed: Callable[[CatalogState], None] = lambda state: None
        self.url = catalog_url(where)
        self._keep_open = keep_open
        self.shown = self.url.database if self.is_file else self.url.render_as_string()
        if self.is_file:
            path = Path(str(self.url.database))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine, self._writer = _sqlite(self.url, keep_open)
            with _alone(path), self._translated():
                path.touch(mode=0o600)  # SQLite gives its log the same mode
                self._prepare()
        else:
            self._engine, self._writer = _postgres(self.url)
            with self._translated():
                self._prepare()

    @property
    def is_file(self) -> bool:
        """True for SQLite."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read transaction: it sees one snapshot of the catalog."""
        with self._translated(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open an atomic write transaction, which excludes other writers from its start."""
        with self._translated(), Session(self._writer) as session:
            with session.begin():
                session.connection()  # begin now, not at the first statement
                yield session
            state = session.info.get(_CHANGED)
        if state:
            self.committed(state)

    def state(self) -> CatalogState:
        """Return the id of the catalog and its number of changes."""
        with self.read() as session:
            row = session.scalars(select(GenerationRow)).one()
            return CatalogState(row.catalog, row.changes)

    def changed(self, session: Session) -> GenerationRow:
        """Count a change of versions or deployments in its transaction; `committed` is called after it.

        Returns the row with the counters.
        """
        with session.no_autoflush:  # the change is written with the row
            row = session.scalars(select(GenerationRow)).one()
        row.changes += 1
        session.info[_CHANGED] = CatalogState(row.catalog, row.changes)
        return row

    def announce(self, session: Session) -> None:
        """Notify listeners when this transaction is committed; does nothing for SQLite."""
        if not self.is_file:
            session.connection().exec_driver_sql(f"NOTIFY {CHANNEL}")

    def write_back(self) -> None:
        """Checkpoint SQLite's log, so that a copy of the file alone is complete; PostgreSQL: do nothing.

        Without `keep_open`, closing the last connection does that. It does not wait for others and needs disk
        space; if it fails the log stays and is still read.
        """
        if not (self._keep_open and self.is_file):
            return
        log = Path(f"{self.url.database}-wal")
        if log.exists() and log.stat().st_size:
            with self._translated(), self._engine.connect() as connection:
                cursor: Any = connection.connection.cursor()  # a checkpoint must run outside a transaction
                cursor.execute("PRAGMA busy_timeout=0")
                with suppress(sqlite3.OperationalError):
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")

    def close(self) -> None:
        """Close the open connections."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            if is_current(connection):
                return
        with self._writer.begin() as connection:
            migrate(connection, str(self.shown))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:  # the latter: a connection found closed
            raise NotReady(f"The catalog {self.shown} cannot be used right now: {_said(error)}.") from error
        except NoConnection as error:
            raise NotReady(
                f"The catalog {self.shown} cannot be used right now: all connections are busy."
            ) from error
        except DataError as error:
            raise BadRequest(f"The catalog cannot store a value: {_said(error)}.") from error
        except DatabaseError as error:
            raise BadConfig(f"{self.shown} is damaged or not a GraftHub catalog: {_said(error)}.") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of those that open a catalog's file."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        raise HostFault(
            f"{path.parent} is read-only here ({error.strerror}). A catalog in a file needs a folder that "
            "can be written, also to be read. Run the command as the user that owns it, or on a copy of it."
        ) from error
    try:
        yield
    finally:
        lock.release()


def catalog_url(where: Path | str) -> URL:
    """Return the URL of a catalog, with the driver that the hub uses.

    Raises:
        BadConfig: it is neither SQLite's nor PostgreSQL's.
        MissingExtra: the client of PostgreSQL is not installed.
    """
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
        kind = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise BadConfig("catalog.url is not a URL such as postgresql://user@host/database.") from None
    if kind == "sqlite" and url.database:
        return url
    if kind != "postgresql":
        raise BadConfig(
            f"catalog.url: {kind} is not supported; use postgresql:// or leave it empty (SQLite)."
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtra.of("A PostgreSQL catalog", "postgres") from None
    return url.set(drivername="postgresql+psycopg")


def _sqlite(url: URL, keep_open: bool) -> tuple[Engine, Engine]:
    # Usually without a pool: each transaction opens and closes the file, so nothing is open at a fork or an
    # exit. But closing the last connection checkpoints the log, so a server keeps connections. A removed file
    # is an error (mode=rw): otherwise an empty catalog would replace it.
    file = url.set(database=f"file:{quote(str(url.database))}", query={"mode": "rw", "uri": "true"})
    engine = create_engine(file, poolclass=QueuePool if keep_open else NullPool)
    if keep_open:
        _watch_file(engine, Path(str(url.database)))
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine, engine.execution_options(immediate=True)


def _watch_file(engine: Engine, path: Path) -> None:
    """Discard pooled connections when the file was removed or replaced."""

    def which() -> tuple[int, int] | None:
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def opened(connection: object, record: Any) -> None:
        record.info["file"] = which()

    def lent(connection: object, record: Any, proxy: object) -> None:
        if record.info["file"] != which():
            raise DisconnectionError(f"{path.name} is another file now.")

    event.listen(engine, "connect", opened)
    event.listen(engine, "checkout", lent)


def _configure(connection: Any, record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver at the first write
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")  # persistent in the file: later calls change nothing
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgres(url: URL) -> tuple[Engine, Engine]:
    # A lost server is detected within seconds, also when its packets are dropped silently.
    engine = create_engine(
        url,
        pool_size=3,
        max_overflow=5,
        pool_pre_ping=True,
        pool_timeout=_CONNECT_S,
        isolation_level="REPEATABLE READ",
        connect_args={
            "connect_timeout": _CONNECT_S,
            "tcp_user_timeout": 5_000,
            "options": f"-c lock_timeout={_BUSY_MS} -c statement_timeout={2 * _BUSY_MS}",
        },
    )
    # Not REPEATABLE READ: a writer must see the commit of the writer whose lock it waited for.
    writer = engine.execution_options(isolation_level="READ COMMITTED")
    event.listen(writer, "begin", _take_turn)
    return engine, writer


def _take_turn(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


def _said(error: DBAPIError) -> str:
    return (
        str(error.orig).strip().splitlines()[0].rstrip(".") if str(error.orig).strip() else "no reason given"
    )
