"""Plugin code that takes memory costs its own requests: it is found, stopped, counted, and suspended."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.errors import PluginFailed, PluginMemory, PluginSuspended
from hub.serving.batching import base_workers
from hub.serving.meter import Meter
from hub.serving.plugins import returned
from hub.serving.plugins.growth import MemoryWatch, loading
from hub.serving.plugins.stages import Stage, Work
from hub.serving.plugins.suspension import OVERRUN_S, Suspension
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests import pipeline
from hub.store.change import Deploy

SHARE = 2
PIECE = 5_000_000  # bytes


@pytest.fixture
def build(add, start, monkeypatch):
    """A runtime with `mood` (sentiment) and `topic` (classification) on one base; a call may take 100 MB."""
    for module in (base_workers, pipeline):
        monkeypatch.setattr(module, "encode_threads", lambda: SHARE)

    def make(**limits):
        hub = start(limits={"plugin_memory_mb": 100, "plugin_timeout_s": 60, **limits})
        add(seed=1)
        add("topic", seed=3, task="classification", labels=("sport", "politics"))
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
        hub.runtime.deploy("topic", Deploy(version="topic@1", by="t"))
        assert hub.ask("mood", "warm").scores and hub.ask("topic", "warm").items[0].label
        return hub

    return make


@pytest.fixture
def grow(monkeypatch):
    """Make a step of `sentiment` collect memory without end on texts that begin with "grow"."""

    def patch(step: str, *, catches: bool = False) -> None:
        real = getattr(SentimentTask, step)

        def patched(task, request, *given):
            taken = []
            while request.text.startswith("grow"):
                try:
                    taken.append(bytearray(PIECE))
                except Exception:
                    assert catches
            return real(task, request, *given)

        monkeypatch.setattr(SentimentTask, step, patched)

    return patch


@pytest.mark.parametrize(("step", "catches"), [("encode", False), ("decode", True)])
def test_a_call_that_takes_memory_ends_is_stopped_and_delays_no_other_task(
    build, grow, until, step: str, catches: bool
) -> None:
    hub = build()
    grow(step, catches=catches)
    call = hub.submit("mood", "grow")
    assert hub.ask("topic", "a text").items[0].label
    with pytest.raises(PluginMemory, match=rf"MB of memory in {step}, and the limit is 100") as caught:
        call.result(60)
    assert (caught.value.code, caught.value.status) == ("plugin_memory", 500)
    assert until(lambda: not hub.runtime.status()["hanging"])  # the thread has returned
    assert hub.ask("mood", "warm").scores


def test_a_task_is_suspended_after_a_few_such_calls(build, grow) -> None:
    hub = build()
    grow("encode")
    for _ in range(SHARE):
        with pytest.raises(PluginMemory):
            hub.ask("mood", "grow")
    with pytest.raises(PluginSuspended, match="several calls took too much memory"):
        hub.ask("mood", "warm")
    assert hub.ask("topic", "a text").items[0].label


@pytest.mark.parametrize(("step", "limit"), [("encode", "MAX_ROWS"), ("decode", "MAX_ANSWER_BYTES")])
def test_a_plugin_that_returns_too_much_fails_its_request(build, monkeypatch, step: str, limit: str) -> None:
    hub = build()
    monkeypatch.setattr(returned, limit, 0)
    (failed,) = hub.ask("mood", "a text").items
    assert isinstance(failed, PluginMemory)
    assert f"in {step}: a fault in the plugin 'sentiment'" in str(failed) and "at most 0" in str(failed)


class Calls:
    """Calls that stay in plugin code until they are let go; `mb` is the memory of the process."""

    def __init__(self) -> None:
        self.mb = 1000.0
        self.go = {name: threading.Event() for name in ("first", "second")}
        self.inside = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.errors: dict[str, Exception | None] = {}
        self.faults: list[tuple[str, str]] = []
        meter = Meter()
        meter.plugin_fault = lambda task, step, fault: self.faults.append((step, fault))  # type: ignore[method-assign]
        self.threads = TaskThreads("mood", "plugin", 3, meter)

    def begin(self, name: str) -> None:
        def run() -> None:
            self.inside.release()
            self.go[name].wait(60)

        def work() -> Work:
            self.errors[name] = None
            try:
                yield Stage("encode", run)
            except PluginFailed as error:
                self.errors[name] = error
            self.ended.release()

        self.threads.submit(work())
        assert self.inside.acquire(timeout=20)


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    for event in made.go.values():
        event.set()
    made.threads.close()


def test_growth_is_charged_to_a_call_that_is_alone_in_plugin_code_and_to_no_other(calls: Calls) -> None:
    watch = MemoryWatch(100, lambda: calls.mb)

    def grows(mb: float) -> None:
        watch.check([calls.threads])
        calls.mb += mb
        watch.check([calls.threads])

    calls.begin("first")
    grows(100)  # as much as it may
    with loading():
        grows(500)
    calls.begin("second")
    grows(500)
    assert calls.errors == {"first": None, "second": None}
    calls.go["second"].set()
    assert calls.ended.acquire(timeout=20)
    grows(60)
    calls.mb -= 40
    grows(70)  # 90 MB more than the least
    assert calls.errors["first"] is None
    grows(11)
    assert calls.ended.acquire(timeout=20)
    assert isinstance(calls.errors["first"], PluginMemory)
    assert calls.faults == [("encode", "memory")]


def test_calls_that_take_memory_now_and_then_suspend_nothing() -> None:
    suspension = Suspension(SHARE)
    assert [suspension.overran(at) for at in (0.0, OVERRUN_S + 1, 2 * OVERRUN_S + 3)] == [False] * 3
    assert suspension.overran(2 * OVERRUN_S + 4)
    assert suspension.active and not suspension.returned()
    assert suspension.begin_trial(4 * OVERRUN_S) and suspension.end_trial(answered=True)
    assert not suspension.active and not suspension.overran(4 * OVERRUN_S + 1)
