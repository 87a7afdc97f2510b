"""A deadline or a disconnect cancels the work of the right request."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hub.engine.fake import FakeEngine
from hub.errors import DeadlineExceeded
from hub.http import deadline
from hub.http.deadline import ClientLeft, Deadline


async def never() -> None:
    await asyncio.Event().wait()


async def leaves() -> dict[str, str]:
    return {"type": "http.disconnect"}


def test_work_in_time_is_left_alone() -> None:
    async def work() -> str:
        async with Deadline(5):
            await asyncio.sleep(0)
            return "done"

    assert asyncio.run(work()) == "done"


def test_work_past_its_deadline_is_cancelled() -> None:
    async def work() -> None:
        async with Deadline(0.01):
            await never()

    with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
        asyncio.run(work())


def test_the_task_can_go_on_after_a_deadline() -> None:
    async def work() -> str:
        try:
            async with Deadline(0.01):
                await never()
        except DeadlineExceeded:
            await asyncio.sleep(0)
            return "answered 504"
        return ""

    assert asyncio.run(work()) == "answered 504"


def test_without_a_deadline_nothing_ends_the_work(monkeypatch) -> None:
    async def work() -> str:
        async with Deadline(0):
            await asyncio.sleep(0.05)
            return "done"

    assert asyncio.run(work()) == "done"


def test_a_client_that_leaves_ends_the_work(monkeypatch) -> None:
    monkeypatch.setattr(deadline, "WATCH_AFTER_S", 0.0)

    async def work() -> None:
        async with Deadline(30) as waiting:
            waiting.watch(leaves)
            await never()

    with pytest.raises(ClientLeft):
        asyncio.run(work())


def test_a_client_that_stays_does_not(monkeypatch) -> None:
    monkeypatch.setattr(deadline, "WATCH_AFTER_S", 0.0)

    async def stays() -> dict[str, str]:
        await never()
        return {}

    async def work() -> str:
        async with Deadline(30) as waiting:
            waiting.watch(stays)
            await asyncio.sleep(0.05)
            return "done"

    assert asyncio.run(work()) == "done"


def test_a_cancellation_from_outside_stays_one(monkeypatch) -> None:
    async def work() -> None:
        async with Deadline(30):
            await never()

    async def outside() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(outside())


def test_an_error_of_the_work_goes_before_the_deadline() -> None:
    async def work() -> None:
        async with Deadline(0.01):
            try:
                await never()
            except asyncio.CancelledError:
                raise ValueError("while it was being cancelled") from None

    with pytest.raises(ValueError, match="while it was"):
        asyncio.run(work())


def test_a_request_past_its_deadline_is_answered_and_the_server_goes_on(
    monkeypatch, serving, live_in, until
) -> None:
    monkeypatch.setenv("HUB_LIMITS__TIMEOUT_S", "0.2")
    run, gate = FakeEngine.run, threading.Event()

    def held(self, rows, **how):
        gate.wait(30)
        return run(self, rows, **how)

    def ask():
        return client.post("/v1/deployments/mood/predict", json={"text": "a"})

    with serving() as client:
        live_in(client, "mood", seed=1)
        monkeypatch.setattr(FakeEngine, "run", held)
        late = ask()
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        gate.set()
        assert until(lambda: ask().status_code == 200)
