from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hub.errors import BadConfig, NotReady
from hub.store.catalog import AdapterRow, Catalog, VersionRow


def raw(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_the_catalog_is_one_wal_file_with_a_schema_number(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "catalog.db"
    Catalog(path)
    Catalog(path)
    assert raw(path, "PRAGMA journal_mode") == [("wal",)]
    assert raw(path, "PRAGMA user_version") == [(1,)]
    assert raw(path, "SELECT value FROM generation") == [(0,)]


def test_a_catalog_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    raw(path, "PRAGMA user_version=7")
    with pytest.raises(BadConfig, match=r"newer GraftHub \(schema 7\)"):
        Catalog(path)
    assert raw(path, "SELECT count(*) FROM sqlite_master") == [(0,)]


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
    monkeypatch.setattr("hub.store.catalog._BUSY_MS", 20)
    catalog = Catalog(tmp_path / "catalog.db")
    with (
        catalog.write(),
        pytest.raises(NotReady, match="cannot be used right now: database is locked"),
        catalog.write(),
    ):
        pass
