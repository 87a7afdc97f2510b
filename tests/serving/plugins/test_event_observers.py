"""Observers of plugins are told beside the answers. One is that of docs/plugins/observers.md."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest

from hub.api import AdapterEvent, EventObserver, NoOptions, ObserverSpec
from hub.serving.meter import Meter
from hub.serving.plugins import event_observers
from hub.serving.plugins.event_observers import EventObservers
from hub.store.change import Deploy
from tests.support.plugins import Install, install, write_page
from tests.support.waiting import until

__all__ = ["install"]

LOADED = AdapterEvent("loaded", "mood@1")


class Counting(Meter):
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def observed(self, observer: str, outcome: str) -> None:
        self.counts[outcome] += 1


class Found:
    """The extensions of a registry with one observer."""

    def __init__(self, observer: EventObserver[NoOptions]) -> None:
        self._observer = observer

    def all(self, kind: object) -> list[tuple[ObserverSpec, EventObserver[NoOptions]]]:
        return [(ObserverSpec("one", "Observes.", "m:One"), self._observer)]


@pytest.fixture
def started():
    """Start the thread of an observer; it ends with the test."""
    running: list[EventObservers] = []

    def start(observer: EventObserver[NoOptions]) -> tuple[EventObservers, Counting]:
        meter = Counting()
        running.append(EventObservers(Found(observer), meter))  # type: ignore[arg-type]
        running[-1].start()
        return running[-1], meter

    yield start
    for one in running:
        one.stop()


def test_a_server_tells_of_requests_swaps_and_loads(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add, start
) -> None:
    file = tmp_path / "slow.jsonl"
    monkeypatch.setenv("HUB_PLUGINS__LATENCY__FILE", str(file))
    monkeypatch.setenv("HUB_PLUGINS__LATENCY__OVER_MS", "0")
    install(write_page("observers", tmp_path))
    first, second = add(), add(seed=1)
    hub = start(url="http://127.0.0.1:9")
    hub.runtime.deploy("mood", Deploy(version=str(first.ref), by="t"))
    hub.ask("mood", "good", "bad")
    hub.runtime.deploy("mood", Deploy(version=str(second.ref), by="t"))
    hub.ask("mood", "good")
    assert until(lambda: len(lines(file)) == 5)
    assert [line.get("serves") or line["version"] for line in lines(file)] == [
        "mood@1",
        "mood@1",
        "mood@1",
        "mood@2",
        "mood@2",
    ]
    observers = {one["name"]: one for one in hub.runtime.status()["observers"]}
    assert observers["latency"]["state"] == "ok"
    assert observers["latency"]["failed"] == observers["latency"]["dropped"] == 0
    assert observers["log"]["state"] == "ok"


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Failing(EventObserver[NoOptions]):
    def adapter(self, event: AdapterEvent) -> None:
        raise SystemExit(3)


def test_one_that_keeps_failing_is_put_aside_and_counted(started) -> None:
    observers, meter = started(Failing(NoOptions()))
    for _ in range(30):
        observers.adapter(LOADED)
    assert until(lambda: observers.describe()[0]["state"] == "aside")
    [described] = observers.describe()
    assert described["reason"] == "10 calls failed, one after another"
    assert (described["failed"], meter.counts["failed"]) == (10, 10)
    before = described["waiting"]
    observers.adapter(LOADED)
    assert observers.describe()[0]["waiting"] == before


class Slow(EventObserver[NoOptions]):
    def __init__(self, settings: NoOptions) -> None:
        super().__init__(settings)
        self.go = threading.Event()

    def adapter(self, event: AdapterEvent) -> None:
        self.go.wait()


def test_what_one_is_behind_for_is_dropped_and_one_that_hangs_is_put_aside(
    started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_observers, "MAX_QUEUE", 2)
    slow = Slow(NoOptions())
    observers, meter = started(slow)
    observers.adapter(LOADED)
    assert until(lambda: observers.describe()[0]["waiting"] == 0)  # the thread is in the call
    for _ in range(5):
        observers.adapter(LOADED)
    assert observers.describe()[0]["dropped"] == meter.counts["dropped"] == 3
    assert observers.describe()[0]["state"] == "ok"
    monkeypatch.setattr(event_observers, "MAX_CALL_S", 0.0)
    observers.adapter(LOADED)
    assert observers.describe()[0]["state"] == "aside"
    slow.go.set()


class Last(EventObserver[NoOptions]):
    def __init__(self, settings: NoOptions) -> None:
        super().__init__(settings)
        self.seen: list[str] = []

    def adapter(self, event: AdapterEvent) -> None:
        self.seen.append(event.version)

    def close(self) -> None:
        self.seen.append("closed")


def test_stopping_delivers_what_waits_and_closes(started) -> None:
    last = Last(NoOptions())
    observers, _ = started(last)
    observers.adapter(LOADED)
    observers.stop()
    assert last.seen == ["mood@1", "closed"]


def test_one_whose_queue_is_full_when_it_is_stopped_still_delivers_it(
    started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_observers, "MAX_QUEUE", 1)
    go = threading.Event()

    class Behind(Last):
        def adapter(self, event: AdapterEvent) -> None:
            go.wait(60)
            super().adapter(event)

    last = Behind(NoOptions())
    observers, _ = started(last)
    observers.adapter(LOADED)
    assert until(lambda: observers.describe()[0]["waiting"] == 0)  # the thread is in the call
    observers.adapter(LOADED)
    observers._workers[0].end()
    go.set()
    observers.stop()
    assert last.seen == ["mood@1", "mood@1", "closed"]


def test_one_that_wants_no_requests_makes_none_be_observed(started) -> None:
    observers, _ = started(Last(NoOptions()))
    assert not observers.wants(None)  # type: ignore[arg-type]
