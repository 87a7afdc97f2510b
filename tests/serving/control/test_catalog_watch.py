"""When the catalog is looked at."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from hub.serving.control import catalog_watch as module
from hub.serving.control.catalog_watch import CatalogWatch


class Looks:
    """Counts looks, and holds them up or fails them as told."""

    def __init__(self) -> None:
        self.count = 0
        self.says = ""
        self.free = threading.Event()
        self.free.set()

    def __call__(self) -> str:
        self.count += 1
        self.free.wait(30)
        return self.says


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def watching(looks, request):
    """Start a watch that looks every so many seconds; it is stopped at the end."""

    def start(every_s: float) -> CatalogWatch:
        watch = CatalogWatch(looks, every_s)
        watch.start()
        request.addfinalizer(watch.stop)
        request.addfinalizer(looks.free.set)
        return watch

    return start


def ask(watch: CatalogWatch, times: int = 1) -> list[str]:
    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(watch.refresh() for _ in range(times)))

    return asyncio.run(all_at_once())


def test_it_looks_again_and_again(watching, looks, until) -> None:
    watching(0.01)
    assert until(lambda: looks.count >= 5)


def test_woken_it_looks_at_once(watching, looks, until) -> None:
    watch = watching(60)
    watch.wake()
    assert until(lambda: looks.count == 1)
    watch.wake()
    assert until(lambda: looks.count == 2)


def test_many_who_ask_share_one_look(watching, looks) -> None:
    watch = watching(60)
    assert ask(watch, 200) == [""] * 200
    assert looks.count <= 2, "some may have come when the first look was over"


def test_those_who_ask_cause_no_more_looks_than_the_clock_would(watching, looks) -> None:
    watch = watching(60)
    began = time.monotonic()
    for _ in range(4):
        ask(watch, 20)
    assert looks.count == 4
    assert time.monotonic() - began >= 3 * 0.25, "the first is answered at once"


def test_who_asks_during_a_look_waits_for_the_next(watching, looks, until) -> None:
    """What the one under way has read may be older than the question."""
    watch = watching(60)
    looks.free.clear()
    watch.wake()
    assert until(lambda: looks.count == 1)
    answers: list[list[str]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(watch)))
    asking.start()
    assert until(lambda: watch._asked is not None)
    looks.free.set()
    asking.join()
    assert (answers, looks.count) == ([[""]], 2)


def test_why_the_catalog_cannot_be_read_is_told(watching, looks) -> None:
    looks.says = "The catalog is gone."
    assert ask(watching(60)) == ["The catalog is gone."]


def test_nobody_waits_for_ever(watching, looks, monkeypatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    looks.free.clear()
    (told,) = ask(watching(0.01))
    assert "not caught up" in told


def test_a_stop_lets_go_those_who_wait_and_later_ones(watching, looks, until, monkeypatch) -> None:
    monkeypatch.setattr(module, "_ASKED_S", 60.0)
    watch = watching(60)
    ask(watch)  # the next look is a while off
    answers: list[list[str]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(watch)))
    asking.start()
    assert until(lambda: watch._asked is not None)
    watch.stop()
    asking.join()
    assert "stopping" in answers[0][0]
    assert "stopping" in ask(watch)[0]


def test_one_who_leaves_takes_nothing_from_the_others(watching, looks) -> None:
    watch = watching(60)

    async def two() -> str:
        first, second = (asyncio.create_task(watch.refresh()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(two()) == ""
