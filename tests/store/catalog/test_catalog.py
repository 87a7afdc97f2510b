from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, select

from hub.errors import BadConfig, NotReady
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.migrations import HEAD
from hub.store.catalog.tables import AdapterRow, CatalogTable, DeploymentRow, MoveRow, VersionRow

# As the first release made it, with one deployment.
FIRST_SCHEMA = """
CREATE TABLE adapters (name VARCHAR(63) NOT NULL, last_number INTEGER NOT NULL, PRIMARY KEY (name));
CREATE TABLE generation (id INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE moves (generation INTEGER NOT NULL, deployment VARCHAR(63) NOT NULL, "when" VARCHAR NOT NULL,
    who VARCHAR NOT NULL, before VARCHAR, after VARCHAR, why VARCHAR NOT NULL, PRIMARY KEY (generation));
CREATE INDEX ix_moves_deployment ON moves (deployment);
CREATE TABLE versions (id INTEGER NOT NULL, name VARCHAR(63) NOT NULL, number INTEGER NOT NULL,
    sha256 VARCHAR(64) NOT NULL, manifest VARCHAR NOT NULL, created VARCHAR NOT NULL, PRIMARY KEY (id),
    UNIQUE (name, number), UNIQUE (name, sha256), FOREIGN KEY(name) REFERENCES adapters (name));
CREATE INDEX ix_versions_sha256 ON versions (sha256);
CREATE TABLE deployments (name VARCHAR(63) NOT NULL, task VARCHAR NOT NULL, stable_id INTEGER NOT NULL,
    previous_id INTEGER, generation INTEGER NOT NULL, updated VARCHAR NOT NULL, PRIMARY KEY (name),
    FOREIGN KEY(stable_id) REFERENCES versions (id), FOREIGN KEY(previous_id) REFERENCES versions (id));
CREATE TRIGGER moves_no_update BEFORE UPDATE ON moves
    BEGIN SELECT RAISE(ABORT, 'moves are only ever added'); END;
CREATE TRIGGER moves_no_delete BEFORE DELETE ON moves
    BEGIN SELECT RAISE(ABORT, 'moves are only ever added'); END;
INSERT INTO generation VALUES (1, 1);
INSERT INTO adapters VALUES ('x', 1);
INSERT INTO versions VALUES (1, 'x', 1, 'abc', '{}', '2026-01-01');
INSERT INTO deployments VALUES ('live', 'sentiment', 1, NULL, 1, '2026-01-01');
INSERT INTO moves VALUES (1, 'live', '2026-01-01', 'ann', NULL, 'x@1', '');
PRAGMA user_version=1
"""


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


def test_a_catalog_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    raw(path, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    raw(path, "INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(BadConfig, match=r"newer GraftHub \(schema 9999\)"):
        Catalog(path)
    assert raw(path, "SELECT count(*) FROM sqlite_master") == [(1,)]


def test_a_catalog_from_before_migrations_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_SCHEMA)
    catalog = Catalog(path)
    with catalog.read() as session:
        deployment = session.get_one(DeploymentRow, "live")
        move = session.get_one(MoveRow, 1)
        assert (deployment.stable.number, deployment.canary_id, deployment.trial) == (1, None, None)
        assert (move.kind, move.who) == ("deploy", "ann")
    with pytest.raises(BadConfig, match="only ever added"), catalog.write() as session:
        session.execute(delete(MoveRow))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_migrations_make_the_tables_that_the_code_reads(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = tmp_path / "c.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    catalog = Catalog(where)
    with catalog._engine.connect() as connection:
        context = MigrationContext.configure(connection)
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
