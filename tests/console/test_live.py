"""Readings of the metrics while a page shows them."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from starlette.requests import Request

from hub.console import live
from hub.console.events import live_part
from hub.console.live import LiveFigures
from hub.console.sparkline import HEIGHT, WIDTH, sparkline
from hub.errors import RateLimited
from hub.http.auth import ACCOUNT
from hub.serving.accounts.account import Account
from hub.store.catalog.keys import KeyLimits

METRICS = b"# TYPE hub_generation gauge\nhub_generation 7\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    monkeypatch.setattr(live, "LATE_S", 0.2)


async def watched(figures: LiveFigures, times: int) -> list[int]:
    """Return how many readings there are each time that a page is told to look."""
    seen = []
    async for _ in figures.watch():
        seen.append(len(figures.readings))
        if len(seen) == times:
            break
    await figures.close()
    return seen


def test_pages_look_after_each_reading() -> None:
    figures = LiveFigures(lambda: METRICS)
    seen = asyncio.run(watched(figures, 4))
    assert seen[0] == 0 < seen[-1]
    assert figures.readings[-1].figures["generation"] == 7


def test_a_reading_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    calls = itertools.count()

    def text() -> bytes:
        if next(calls) % 2:
            raise ValueError("half a file")
        return METRICS

    assert asyncio.run(watched(LiveFigures(text), 8))[-1] > 0
    assert "cannot be read: ValueError" in caplog.text


def test_pages_look_also_without_readings() -> None:
    async def hang() -> list[int]:
        figures = LiveFigures(lambda: METRICS)
        figures._read = asyncio.Event().wait  # type: ignore[assignment,method-assign]
        return await watched(figures, 2)

    assert asyncio.run(hang()) == [0, 0]


def test_a_page_after_a_pause_shows_no_figures_of_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_S", 0.05)

    async def left_and_back() -> list[int]:
        figures = LiveFigures(lambda: METRICS)
        seen = await watched(figures, 4)
        figures.want()
        assert figures._task
        await figures._task  # nobody watches
        return [seen[-1], len(figures.readings)]

    before, after = asyncio.run(left_and_back())
    assert after == 0 < before


def test_an_open_page_is_no_request_at_a_time_of_its_key() -> None:
    async def part() -> str:
        return ""

    account = Account("web", KeyLimits(concurrency=1))
    account.begin()
    request = Request({"type": "http", "headers": [], ACCOUNT: account})
    live_part(request, part)
    account.begin()
    with pytest.raises(RateLimited):
        account.begin()
    account.end(failed=True)
    requests = sum(usage.requests for usage in account.take().values())
    assert (requests, ACCOUNT in request.scope) == (2, False)


def test_a_line_of_nothing_is_flat_at_the_bottom() -> None:
    assert sparkline([1.0]) == ""
    points = [point.split(",") for point in sparkline([0.0] * 3).split()]
    assert {y for _, y in points} == {f"{HEIGHT - 1:.1f}"}
    assert points[-1][0] == f"{WIDTH:.1f}"
    rising = [float(point.split(",")[1]) for point in sparkline([1.0, 2.0, 4.0]).split()]
    assert rising == sorted(rising, reverse=True) and rising[-1] == 1.0
