"""Where the trials of a search are stored: a SQLite file, or a schema of the hub's PostgreSQL database."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, text

from hub.errors import MissingExtra
from hub.store.catalog.catalog import catalog_url

try:
    import optuna
    from optuna.storages import RDBStorage
except ModuleNotFoundError:
    raise MissingExtra.of("hub tune", "tune") from None

__all__ = ["STUDY_FILE", "StudyPlace"]

STUDY_FILE = "study.db"
SCHEMA = "grafthub_search"  # apart from the catalog's tables: both have one called alembic_version
WAIT_S = 60  # for the lock of the SQLite file
_MAKERS = 0x6772737263  # the advisory lock of those that make the schema
_STUDY = "study"


@dataclass(frozen=True, slots=True)
class StudyPlace:
    """The database of a search and its study's name in it; any number of processes may open it."""

    url: str
    name: str = _STUDY

    @classmethod
    def in_folder(cls, folder: Path) -> StudyPlace:
        """Return the place of a search in its folder, for processes of one machine."""
        return cls(f"sqlite:///{folder / STUDY_FILE}")

    @classmethod
    def in_catalog(cls, url: str, name: str) -> StudyPlace:
        """Return the place of the search for an adapter in the PostgreSQL database of the catalog.

        Raises:
            BadConfig, MissingExtra: the URL is not PostgreSQL's, or its client is not installed.
        """
        return cls(catalog_url(url).render_as_string(hide_password=False), name)

    @property
    def is_file(self) -> bool:
        """True for SQLite."""
        return self.url.startswith("sqlite")

    @contextmanager
    def open(self, *, afresh: bool = False) -> Iterator[RDBStorage]:
        """Open the storage within the block; its tables are created.

        `afresh`: the study and its trials are removed first, if there is one.
        """
        if afresh and self.is_file:
            self._remove_file()
        arguments = {"timeout": WAIT_S} if self.is_file else {"options": f"-csearch_path={SCHEMA}"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if not self.is_file:
                self._make_schema()
            storage = RDBStorage(self.url, engine_kwargs={"connect_args": arguments})
        if self.is_file:
            _one_writer(storage.engine)
        try:
            if afresh and self.name in (one.study_name for one in storage.get_all_studies()):
                optuna.delete_study(study_name=self.name, storage=storage)
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _remove_file(self) -> None:
        file = Path(self.url.removeprefix("sqlite:///"))
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()

    def _make_schema(self) -> None:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKERS})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        engine.dispose()


def _one_writer(engine: Engine) -> None:
    """Let each transaction take SQLite's lock when it begins.

    One that reads first and then writes would fail at once where another process does the same.
    """

    @event.listens_for(engine, "connect")
    def connected(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined] # sqlite3 begins none itself

    engine.dispose()  # connections from before have no listener

    @event.listens_for(engine, "begin")
    def begun(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
