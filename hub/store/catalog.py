"""The catalog's tables and its transactions: SQLAlchemy over SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import DDL, ForeignKey, NullPool, String, UniqueConstraint, create_engine, event, insert
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from hub.errors import BadConfig, NotReady

__all__ = ["AdapterRow", "Catalog", "DeploymentRow", "GenerationRow", "MoveRow", "VersionRow"]

SCHEMA = 1
_BUSY_MS = 15_000


class Table(DeclarativeBase):
    """Base of the catalog's tables."""


class AdapterRow(Table):
    """A name, and the highest number it ever gave out: a removed version's number is not used again."""

    __tablename__ = "adapters"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    last_number: Mapped[int]


class VersionRow(Table):
    """One immutable version."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("name", "number"), UniqueConstraint("name", "sha256"))
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey("adapters.name"))
    number: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    manifest: Mapped[str]  # JSON
    created: Mapped[str]  # UTC, ISO 8601


class DeploymentRow(Table):
    """A named endpoint: the version it serves and the one it served before."""

    __tablename__ = "deployments"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    task: Mapped[str]
    stable_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    previous_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    generation: Mapped[int]
    updated: Mapped[str]
    stable: Mapped[VersionRow] = relationship(foreign_keys=[stable_id], lazy="joined", innerjoin=True)
    previous: Mapped[VersionRow | None] = relationship(foreign_keys=[previous_id], lazy="joined")


class MoveRow(Table):
    """One change of a deployment; rows are only ever added."""

    __tablename__ = "moves"
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    deployment: Mapped[str] = mapped_column(String(63), index=True)
    when: Mapped[str]
    who: Mapped[str]
    before: Mapped[str | None]
    after: Mapped[str | None]
    why: Mapped[str]


class GenerationRow(Table):
    """The one row that counts moves."""

    __tablename__ = "generation"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


for _verb in ("UPDATE", "DELETE"):
    event.listen(
        MoveRow.__table__,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER moves_no_{_verb.lower()} BEFORE {_verb} ON moves "
            "BEGIN SELECT RAISE(ABORT, 'moves are only ever added'); END"
        ),
    )


class Catalog:
    """One SQLite file, in WAL mode: any number of readers beside one writer, across processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # No pool: a transaction opens the file and closes it, so nothing is left open to a fork or an exit.
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(immediate=True)
        with FileLock(path.with_name(f".{path.name}.lock")), self._translated():
            self._prepare()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one state of the catalog."""
        with self._translated(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that excludes other writers from its start; all of it happens, or nothing."""
        with self._translated(), Session(self._writer) as session, session.begin():
            session.connection()  # begins now, not at the first statement
            yield session

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version > SCHEMA:
            raise BadConfig(f"{self.path} was written by a newer GraftHub (schema {version}): upgrade.")
        if version < SCHEMA:
            with self._writer.begin() as connection:
                Table.metadata.create_all(connection)
                connection.execute(insert(GenerationRow).values(id=1, value=0))
                connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise NotReady(f"The catalog {self.path} cannot be used right now: {error.orig}.") from error
        except DatabaseError as error:
            raise BadConfig(f"{self.path} is damaged or not a GraftHub catalog: {error.orig}.") from error


def _configure(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not at the first write
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")  # kept in the file: after the first time this changes nothing
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
