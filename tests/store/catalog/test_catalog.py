from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from filelock import FileLock
from sqlalchemy import select

from hub.errors import BadConfig, HostFault, NotReady
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.migrations import HEAD
from hub.store.catalog.tables import AdapterRow, CatalogTable, VersionRow
from hub.store.change import Deploy
from hub.store.store import Store


def raw(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_the_catalog_is_one_wal_file_at_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "catalog.db"
    Catalog(path)
    Catalog(path)
    assert raw(path, "PRAGMA journal_mode") == [("wal",)]
    assert raw(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert raw(path, "SELECT value FROM generation") == [(0,)]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_is_read_only_is_told(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(lock: FileLock) -> None:
        raise OSError(number, os.strerror(number), lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refused)
    with pytest.raises(HostFault, match="also to be read") as caught:
        Catalog(tmp_path / "catalog.db")
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)


def test_a_catalog_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    raw(path, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    raw(path, "INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(BadConfig, match=r"newer GraftHub \(schema 9999\)"):
        Catalog(path)
    assert raw(path, "SELECT count(*) FROM sqlite_master") == [(1,)]


def test_a_process_of_an_older_release_goes_on_with_a_catalog_that_was_migrated(stocked: Store) -> None:
    """Until it is started again; docs/upgrades.md says so."""
    path = stocked.home / "catalog.db"
    raw(path, "ALTER TABLE deployments ADD COLUMN newer VARCHAR NOT NULL DEFAULT ''")
    raw(path, "CREATE TABLE newer (id INTEGER PRIMARY KEY)")
    raw(path, "UPDATE alembic_version SET version_num = '9999'")
    assert stocked.deploy("live", Deploy(version="x@1", by="ann")).stable.number == 1
    assert [str(live.stable.ref) for live in stocked.deployments()] == ["x@1"]
    with pytest.raises(BadConfig, match=r"newer GraftHub \(schema 9999\)"):
        Store(stocked.home)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_migration_equals_the_models(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = tmp_path / "c.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    catalog = Catalog(where)
    with catalog._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, CatalogTable.metadata) == []
    catalog.close()


def test_a_file_that_is_no_catalog_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(BadConfig, match=r"catalog\.db is damaged or not a GraftHub catalog"):
        Catalog(path)


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    with pytest.raises(ZeroDivisionError), catalog.write() as session:
        session.add(AdapterRow(name="x", last_number=1))
        session.flush()
        raise ZeroDivisionError
    with catalog.read() as session:
        assert session.get(AdapterRow, "x") is None


def test_a_row_that_names_no_adapter_is_refused(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    with pytest.raises(BadConfig, match="FOREIGN KEY"), catalog.write() as session:
        session.add(VersionRow(name="ghost", number=1, sha256="0" * 64, manifest="{}", created="now"))


def test_a_reader_sees_one_state_while_a_writer_goes_on(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    with catalog.read() as reading:
        assert reading.get(AdapterRow, "x") is None
        with catalog.write() as writing:
            writing.add(AdapterRow(name="x", last_number=1))
        assert reading.get(AdapterRow, "x") is None
    with catalog.read() as reading:
        assert reading.get(AdapterRow, "x") is not None


def test_a_catalog_that_stays_locked_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.store.catalog.catalog._BUSY_MS", 20)
    catalog = Catalog(tmp_path / "catalog.db")
    with (
        catalog.write(),
        pytest.raises(NotReady, match="cannot be used right now: database is locked"),
        catalog.write(),
    ):
        pass


def add(catalog: Catalog, name: str) -> None:
    with catalog.write() as session:
        session.add(AdapterRow(name=name, last_number=1))


def names(catalog: Catalog) -> list[str]:
    with catalog.read() as session:
        return list(session.scalars(select(AdapterRow.name).order_by(AdapterRow.name)))


def test_connections_that_are_kept_do_not_outlive_the_file(tmp_path: Path) -> None:
    path, aside = tmp_path / "catalog.db", tmp_path / "aside.db"
    catalog = Catalog(path, keep_open=True)
    add(catalog, "first")
    catalog.write_back()
    path.rename(aside)
    with pytest.raises(NotReady, match="unable to open"):
        names(catalog)
    assert not path.exists(), "an empty catalog does not take its place"
    add(Catalog(path), "second")
    assert names(catalog) == ["second"]
    catalog.close()
    assert names(Catalog(path)) == ["second"]
    assert names(Catalog(aside)) == ["first"]


def test_what_a_kept_connection_wrote_is_soon_in_the_file_alone(tmp_path: Path) -> None:
    path, copy = tmp_path / "catalog.db", tmp_path / "copy.db"
    catalog = Catalog(path, keep_open=True)
    add(catalog, "x")
    with catalog.read() as session:
        assert session.get(AdapterRow, "x")
        catalog.write_back()  # somebody reads: it stays in the log, and nobody waits
        assert names(catalog) == ["x"]
    catalog.write_back()
    assert path.with_name("catalog.db-wal").stat().st_size == 0
    shutil.copy(path, copy)
    assert names(Catalog(copy)) == ["x"]
    catalog.close()


def test_a_log_that_there_is_no_room_to_write_back_stays_and_is_read(tmp_path: Path, monkeypatch) -> None:
    """Serving polls the catalog beside this: an error here would say that the catalog is gone."""

    class Full(sqlite3.Cursor):
        def execute(self, statement, *arguments):
            if "wal_checkpoint" in statement:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *arguments)

    catalog = Catalog(tmp_path / "catalog.db", keep_open=True)
    with catalog.write() as session:
        session.add(AdapterRow(name="x", last_number=5))
    with monkeypatch.context() as patch:
        patch.setattr(
            "sqlalchemy.pool.base._ConnectionFairy.cursor", lambda self: self.dbapi_connection.cursor(Full)
        )
        catalog.write_back()
    with catalog.read() as session:
        assert session.scalars(select(AdapterRow.last_number)).one() == 5
    catalog.close()
