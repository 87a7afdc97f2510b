"""Moves are heard of on PostgreSQL as they are made."""

from __future__ import annotations

import threading

import pytest

from hub.store.catalog import listen
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.listen import Listener
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.waiting import until

LOST = "Not listening to the catalog"


class Ear:
    """Counts what a listener hears."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self.times = 0

    def __call__(self) -> None:
        with self._changed:
            self.times += 1
            self._changed.notify_all()

    def hears(self, seconds: float = 20) -> bool:
        """Wait for the next time."""
        with self._changed:
            heard = self._changed.wait_for(lambda: self.times > self._taken, seconds)
            self._taken = self.times
            return heard


@pytest.fixture
def opened(request, postgres_url):
    """Open the same catalog, as often as needed; all are closed at the end."""

    def build() -> Catalog:
        catalog = Catalog(postgres_url)
        request.addfinalizer(catalog.close)
        return catalog

    return build


@pytest.fixture
def listening(request):
    """Start a listener on a catalog; it is stopped at the end."""

    def start(catalog: Catalog) -> tuple[Ear, Listener]:
        ear = Ear()
        listener = Listener(catalog, ear)
        listener.start()
        request.addfinalizer(listener.stop)
        return ear, listener

    return start


def test_a_move_is_heard_at_once(tmp_path, peft_folder, serving, postgres_url, listening) -> None:
    store = Store(tmp_path / "home", postgres_url)
    version = store.add("x", peft_folder(1), serving, origin="trained")
    ear, _ = listening(store.catalog)
    assert ear.hears(), "once it is connected"
    store.deploy("x", Deploy(version=version.ref, by="t"))
    assert ear.hears()
    assert ear.times == 2
    store.close()


def test_nothing_is_heard_of_a_move_that_is_taken_back(opened, listening) -> None:
    catalog = opened()
    ear, _ = listening(catalog)
    assert ear.hears()

    class Broken(Exception):
        pass

    with pytest.raises(Broken), catalog.write() as session:
        catalog.announce(session)
        raise Broken
    with catalog.write() as session:
        catalog.announce(session)
    assert ear.hears()
    assert ear.times == 2, "the first was on connecting"


def test_a_lost_connection_is_made_again_and_then_it_looks(
    postgres_server, opened, listening, caplog
) -> None:
    catalog = opened()
    ear, _ = listening(catalog)
    assert ear.hears()
    postgres_server.stop()
    try:
        assert until(lambda: LOST in caplog.text)
    finally:
        postgres_server.start()
    assert ear.hears(), "what was announced meanwhile is not lost"
    with catalog.write() as session:
        catalog.announce(session)
    assert ear.hears()


def test_it_stops_promptly_connected_or_not(postgres_server, opened, listening, caplog, monkeypatch) -> None:
    monkeypatch.setattr(listen, "_PAUSES_S", (120.0, 120.0))
    ear, connected = listening(opened())
    assert ear.hears()
    connected.stop()
    assert until(lambda: not connected._thread.is_alive())
    ear, waiting = listening(opened())
    assert ear.hears()
    postgres_server.stop()
    try:
        assert until(lambda: LOST in caplog.text)
        waiting.stop()
        assert until(lambda: not waiting._thread.is_alive())
    finally:
        postgres_server.start()


def test_a_file_has_nothing_to_listen_to(tmp_path, listening) -> None:
    before = threading.active_count()
    ear, _ = listening(Catalog(tmp_path / "catalog.db"))
    assert threading.active_count() == before
    assert ear.times == 0
