"""What replicas write of themselves, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from hub.store.catalog import replicas as module
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.replicas import Replicas
from hub.store.catalog.tables import ReplicaRow


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request, tmp_path):
    where = tmp_path / "catalog.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    catalog = Catalog(where)
    yield catalog
    catalog.close()


@pytest.fixture
def replicas(catalog) -> Replicas:
    return Replicas(catalog)


def report(replicas: Replicas, id: str, generation: int = 1, **failures: str) -> None:
    replicas.report(id, host="h", pid=7, url="http://h:1", generation=generation, failures=failures)


def last_heard(catalog: Catalog, id: str, seconds_ago: float) -> None:
    seen = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="microseconds")
    with catalog.write() as session:
        session.execute(update(ReplicaRow).where(ReplicaRow.id == id).values(seen=seen))


def test_a_report_is_read_back(replicas) -> None:
    report(replicas, "a", 3, mood="no such base")
    (found,) = replicas.live()
    assert (found.id, found.host, found.pid, found.url) == ("a", "h", 7, "http://h:1")
    assert (found.generation, found.failures) == (3, {"mood": "no such base"})
    assert 0 <= found.silent_s < 5


def test_the_next_report_takes_its_place(replicas) -> None:
    report(replicas, "a", 1, mood="broken")
    (first,) = replicas.live()
    report(replicas, "a", 2)
    (second,) = replicas.live()
    assert (second.generation, second.failures, second.started) == (2, {}, first.started)


def test_those_that_run_longest_come_first(replicas) -> None:
    for id in "bac":
        report(replicas, id)
    report(replicas, "b", 2)
    assert [replica.id for replica in replicas.live()] == ["b", "a", "c"]


def test_one_that_stops_is_gone_at_once(replicas) -> None:
    report(replicas, "a"), report(replicas, "b")
    replicas.withdraw("a")
    assert [replica.id for replica in replicas.live()] == ["b"]


def test_one_unheard_of_is_gone_and_the_report_of_another_removes_its_row(replicas, catalog) -> None:
    report(replicas, "a"), report(replicas, "b")
    last_heard(catalog, "a", module.SILENT_S - 5)
    assert [replica.id for replica in replicas.live()] == ["a", "b"]
    last_heard(catalog, "a", module.SILENT_S + 1)
    assert [replica.id for replica in replicas.live()] == ["b"]
    with catalog.read() as session:
        assert session.get(ReplicaRow, "a")
    report(replicas, "b")
    with catalog.read() as session:
        assert session.get(ReplicaRow, "a") is None


def test_one_that_was_taken_for_gone_comes_back_with_its_next_report(replicas, catalog) -> None:
    report(replicas, "a"), report(replicas, "b")
    last_heard(catalog, "a", module.SILENT_S + 1)
    report(replicas, "b")
    report(replicas, "a", 5)
    assert {replica.id: replica.generation for replica in replicas.live()} == {"a": 5, "b": 1}


def test_a_long_reason_is_cut(replicas) -> None:
    report(replicas, "a", 1, mood="x" * 10_000)
    (found,) = replicas.live()
    assert 100 < len(found.failures["mood"]) < 1000
