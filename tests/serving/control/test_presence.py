"""A serving process in the catalog's list of replicas."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hub.config import load_settings
from hub.errors import NotReady
from hub.registry.host import Registry
from hub.serving import background, runtime
from hub.serving.control.presence import BEAT_S, FILE_BEAT_S, Presence, Served
from hub.serving.runtime import Runtime
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.replicas import SILENT_S, Replicas
from hub.store.change import Deploy
from hub.store.store import Store


@pytest.fixture
def replicas(tmp_path) -> Replicas:
    return Replicas(Catalog(tmp_path / "catalog.db"))


@pytest.fixture
def present(replicas, request):
    """Start reporting what `served` returns; stopped at the end."""

    def start(served, every_s: float = BEAT_S) -> Presence:
        presence = Presence(replicas, "me", "http://here", served, every_s)
        presence.start()
        request.addfinalizer(presence.stop)
        return presence

    return start


def generations(replicas: Replicas) -> dict[str, int]:
    return {replica.id: replica.generation for replica in replicas.live()}


def test_it_is_listed_from_start_to_stop(present, replicas, until) -> None:
    presence = present(lambda: Served(3, {}))
    assert until(lambda: generations(replicas) == {"me": 3})
    presence.stop()
    assert generations(replicas) == {}


def test_a_change_is_reported_without_waiting_for_the_next_beat(present, replicas, until) -> None:
    now = [Served(1, {})]
    presence = present(lambda: now[0])
    assert until(lambda: generations(replicas) == {"me": 1})
    now[0] = Served(2, {"mood": "broken"})
    presence.changed()
    assert until(lambda: generations(replicas) == {"me": 2}, BEAT_S / 2)
    assert replicas.live()[0].failures == {"mood": "broken"}


def test_it_is_reported_again_and_again(present, replicas, until) -> None:
    present(lambda: Served(1, {}), 0.02)
    assert until(lambda: generations(replicas) == {"me": 1})
    replicas.withdraw("me")
    assert until(lambda: generations(replicas) == {"me": 1})


def test_without_a_catalog_it_keeps_trying_and_says_so_once(
    present, replicas, until, monkeypatch, caplog
) -> None:
    tries, report = [], replicas.report

    def fails(*args, **kwargs) -> None:
        tries.append(1)
        raise NotReady("The catalog is gone.")

    monkeypatch.setattr(replicas, "report", fails)
    present(lambda: Served(1, {}), 0.02)
    assert until(lambda: len(tries) > 3)
    assert caplog.text.count("The catalog is gone") == 1
    monkeypatch.setattr(replicas, "report", report)
    assert until(lambda: generations(replicas) == {"me": 1})


def test_a_stop_does_not_wait_for_a_catalog_that_hangs(present, replicas, until, monkeypatch) -> None:
    monkeypatch.setattr(background, "_STOP_S", 0.1)
    hanging, asked = threading.Event(), threading.Event()
    monkeypatch.setattr(replicas, "report", lambda *args, **kwargs: (asked.set(), hanging.wait(30)))
    presence = present(lambda: Served(1, {}))
    assert asked.wait(10)
    presence.stop()
    hanging.set()


def test_a_stop_during_a_report_still_removes_the_row(present, replicas, until, monkeypatch) -> None:
    report, go, asked = replicas.report, threading.Event(), threading.Event()

    def slow(*args, **kwargs) -> None:
        asked.set()
        go.wait(30)
        report(*args, **kwargs)

    monkeypatch.setattr(replicas, "report", slow)
    presence = present(lambda: Served(1, {}))
    assert asked.wait(10)
    threading.Timer(0.05, go.set).start()
    presence.stop()
    assert generations(replicas) == {}


def test_a_file_catalog_is_written_less_often_and_a_row_outlives_two_lost_reports() -> None:
    assert BEAT_S < FILE_BEAT_S <= SILENT_S / 3


def test_a_server_on_a_file_catalog_reports_at_its_interval(start, monkeypatch) -> None:
    intervals = []
    monkeypatch.setattr(runtime, "Presence", lambda *given: intervals.append(given[-1]) or Presence(*given))
    start(url="http://here")
    assert intervals == [FILE_BEAT_S]


def test_a_runtime_that_serves_is_listed_and_one_that_only_predicts_is_not(add, start, store, until) -> None:
    add(seed=1)
    hub = start()
    assert hub.runtime.status()["replicas"] == []
    served = start(url="http://here")
    assert until(lambda: [one["url"] for one in hub.runtime.status()["replicas"]] == ["http://here"])
    served.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert until(lambda: [one["generation"] for one in hub.runtime.status()["replicas"]] == [1])


def test_a_replica_tells_how_far_behind_it_is_and_what_it_cannot_serve(add, start, store, until) -> None:
    bad = add(seed=1)
    served = start(url="http://here")
    (bad.path / "adapter_config.json").unlink()
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    assert until(lambda: any(one["failures"] for one in served.runtime.status()["replicas"]))
    (told,) = served.runtime.status()["replicas"]
    assert (told["generation"], told["behind"]) == (1, 0)
    assert told["failures"]["mood"].startswith("stable mood@1: ")


def test_a_server_that_finds_the_catalog_gone_waits_for_it(add, start, store, until, monkeypatch) -> None:
    """One that is started again while a database is away must not stay useless when it is back."""
    monkeypatch.setattr("hub.serving.runtime.RETRY_S", 0.02)
    add(seed=1)
    store.deploy("mood", Deploy(version="mood@1", by="t"))
    tries, of = [], Store.of

    def gone_at_first(settings, **how):
        tries.append(1)
        if len(tries) < 4:
            raise NotReady("The catalog cannot be used right now.")
        return of(settings, **how)

    monkeypatch.setattr(Store, "of", gone_at_first)
    hub = start(url="http://here")
    assert hub.ask("mood", "a film").version == "mood@1"
    assert len(tries) == 4


def test_meanwhile_it_says_why_it_does_not_answer_and_can_be_stopped(home, until, monkeypatch) -> None:
    monkeypatch.setattr("hub.serving.runtime.RETRY_S", 0.02)

    def gone(settings, **how):
        raise NotReady("The catalog cannot be used right now.")

    monkeypatch.setattr(Store, "of", gone)
    settings = load_settings(flags={"serve": {"engine": "fake"}})
    runtime = Runtime(settings, Registry.of(settings))
    loop = asyncio.new_event_loop()
    starting = runtime.start(loop, "http://here")

    def said() -> str:
        with pytest.raises(NotReady) as raised:
            _ = runtime.router
        return str(raised.value)

    assert until(lambda: "cannot be used" in said())
    assert not runtime.ready
    runtime.close()
    assert not starting.is_alive()
    loop.close()


def test_a_command_that_finds_the_catalog_gone_is_told_at_once(home, monkeypatch) -> None:
    def gone(settings, **how):
        raise NotReady("The catalog cannot be used right now.")

    monkeypatch.setattr(Store, "of", gone)
    settings = load_settings(flags={"serve": {"engine": "fake"}})
    runtime = Runtime(settings, Registry.of(settings))
    loop = asyncio.new_event_loop()
    runtime.start(loop).join(30)
    with pytest.raises(NotReady, match="could not start"):
        _ = runtime.router
    runtime.close()
    loop.close()
