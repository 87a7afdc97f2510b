"""Plugin code that hangs: a time limit for each call, threads for each task, and suspension."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from grafthub_classification.task import ClassificationTask
from grafthub_sentiment.task import SentimentTask
from pydantic import ConfigDict, Field, field_validator

from hub.api import Model, Text
from hub.errors import BadRequest, HubError, NotReady, PluginFailed, PluginSuspended, PluginTimeout
from hub.serving.batching import base_workers
from hub.serving.plugins import pool as plugin_pool
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests import pipeline
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy
from tests.support.serving import let_time_pass

SHARE = 2
STEPS = ["encode", "decode"]


@pytest.fixture(autouse=True)
def _small_share(monkeypatch) -> None:
    monkeypatch.setattr(base_workers, "encode_threads", lambda: SHARE)
    monkeypatch.setattr(pipeline, "encode_threads", lambda: SHARE)
    monkeypatch.setattr(base_workers, "BORROW_S", 0.01)


@pytest.fixture
def hubs() -> list:
    """The runtimes of a test."""
    return []


@pytest.fixture
def late(hubs):
    """Return a function that lets the call in this thread have run for too long."""
    return lambda: [let_time_pass(hub.runtime) for hub in hubs]


@pytest.fixture
def build(add, start, watching, hubs):
    """A runtime with `mood` (sentiment) and `topic` (classification) on one base."""

    def make(plugin_timeout_s: float = 60, observer=None, **limits):
        hub = start(limits={"plugin_timeout_s": plugin_timeout_s, **limits}, observer=observer)
        hubs.append(hub)
        add(seed=1), add(seed=2)
        add("topic", seed=3, task="classification", labels=("sport", "politics"))
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
        hub.runtime.deploy("topic", Deploy(version="topic@1", by="t"))
        assert hub.ask("mood", "warm").scores and hub.ask("topic", "warm").items[0].label
        return hub

    return make


class Hang:
    """Makes a step of a task hang on texts that begin with "hang", until `go`; calls `hangs` before."""

    def __init__(self, monkeypatch, step: str, task, hangs) -> None:
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self.hanging = True
        real = getattr(task, step)

        def patched(task, request, *given):
            if self.hanging and request.text.startswith("hang"):
                self.inside.release()
                hangs()
                self.go.wait(60)
            return real(task, request, *given)

        monkeypatch.setattr(task, step, patched)

    def entered(self, calls: int) -> None:
        for _ in range(calls):
            assert self.inside.acquire(timeout=20)


@pytest.fixture
def hang(monkeypatch, late):
    """Return a function that makes a step hang, `too_long` or within the time limit."""
    made: list[Hang] = []

    def build(step: str, task=SentimentTask, too_long: bool = True) -> Hang:
        made.append(Hang(monkeypatch, step, task, late if too_long else lambda: None))
        return made[-1]

    yield build
    for one in made:
        one.go.set()


def hanging(hub) -> dict[str, object]:
    (found,) = hub.runtime.status()["hanging"]
    return found


@pytest.mark.parametrize("step", STEPS)
def test_other_tasks_answer_while_every_thread_of_one_hangs(build, hang, step) -> None:
    hub, stuck = build(), hang(step, too_long=False)
    calls = [hub.submit("mood", f"hang {number}") for number in range(3 * SHARE)]
    stuck.entered(SHARE)
    assert all(hub.ask("topic", f"text {number}").items[0].label for number in range(10))
    assert not any(call.done() for call in calls)
    stuck.go.set()
    assert all(call.result(20).scores for call in calls)


@pytest.mark.parametrize("step", STEPS)
def test_a_call_that_hangs_ends_with_an_error_that_names_task_plugin_and_stage(
    build, hang, step, caplog, until
) -> None:
    hub, stuck = build(), hang(step)
    with pytest.raises(PluginTimeout) as caught:
        hub.ask("mood", "hang")
    assert (caught.value.code, caught.value.status) == ("plugin_timeout", 504)
    assert "'sentiment' of plugin 'sentiment'" in str(caught.value) and step in str(caught.value)
    assert hub.leases() == 0
    assert hub.ask("mood", "a fine film").scores, "another thread took its place"
    assert hanging(hub)["stuck_calls"] == 1
    assert f"{step} hangs at" in caplog.text and "test_threads.py" in caplog.text
    stuck.go.set()
    assert until(lambda: hub.runtime.status()["hanging"] == [])


def test_calls_of_one_forward_do_not_wait_for_one_that_hangs(build, hang, monkeypatch, until) -> None:
    hub, stuck = build(), hang("decode", too_long=False)
    inside, gate = threading.Event(), threading.Event()
    run = hub.base_worker.engine.run
    monkeypatch.setattr(
        hub.base_worker.engine,
        "run",
        lambda rows, **how: inside.set() or (gate.wait(30) and run(rows, **how)),
    )
    first = hub.submit("mood", "in the forward before")
    assert inside.wait(10)
    calls = [hub.submit("mood", text) for text in ("before it", "hang", "after it", "and this")]
    assert until(lambda: hub.base_worker.batcher.waiting == len(calls))
    gate.set()
    assert all(call.result(20).scores for call in (first, calls[0], *calls[2:]))
    assert not calls[1].done()
    stuck.go.set()
    assert calls[1].result(20).scores


def test_rows_that_a_late_encode_returns_are_never_run(build, hang, until, monkeypatch) -> None:
    hub, stuck = build(), hang("encode")
    ran: list[str] = []
    run = hub.base_worker.engine.run
    monkeypatch.setattr(hub.base_worker.engine, "run", lambda rows, **how: ran.append("") or run(rows, **how))
    with pytest.raises(PluginTimeout):
        hub.ask("mood", "hang")
    stuck.go.set()
    assert until(lambda: hub.runtime.status()["hanging"] == [])
    assert (ran, hub.leases()) == ([], 0)


@pytest.mark.parametrize("step", STEPS)
def test_a_task_whose_threads_all_hang_is_suspended_and_named(build, hang, step, caplog, until) -> None:
    hub, stuck = build(), hang(step)
    calls = [hub.submit("mood", "hang") for _ in range(SHARE)]
    assert all(isinstance(call.exception(20), PluginTimeout) for call in calls)
    with pytest.raises(
        PluginSuspended, match=r"suspended.*'sentiment'.*hub plugins disable sentiment"
    ) as caught:
        hub.ask("mood", "a fine film")
    assert (caught.value.code, caught.value.status) == ("plugin_suspended", 503)
    assert hanging(hub) == {
        "task": "sentiment",
        "plugin": "sentiment",
        "stuck_calls": SHARE,
        "suspended": True,
        "retry_in_s": hanging(hub)["retry_in_s"],
    }
    warned = [one for one in caplog.records if one.levelno == logging.WARNING and "suspended" in one.message]
    assert len(warned) == 1
    assert hub.ask("topic", "a text").items[0].label
    stuck.go.set()
    assert until(lambda: hub.runtime.status()["hanging"] == []), "threads that return are counted back"
    assert hub.ask("mood", "a fine film").scores
    assert hub.leases() == 0


def test_calls_that_wait_for_a_thread_are_refused_once_the_task_is_suspended(build, hang) -> None:
    hub, _ = build(), hang("encode")
    calls = [hub.submit("mood", "hang") for _ in range(5 * SHARE)]
    errors = [call.exception(20) for call in calls]
    hung = [error for error in errors if isinstance(error, PluginTimeout)]
    assert SHARE <= len(hung) < 2 * SHARE
    assert all(isinstance(error, PluginSuspended) for error in errors if error not in hung)
    assert hub.leases() == 0


def test_calls_of_one_task_do_not_use_up_the_calls_of_others(build, hang) -> None:
    hub, stuck = build(queued_rows=4), hang("encode", too_long=False)
    calls = [hub.submit("mood", "hang") for _ in range(4)]
    stuck.entered(SHARE)
    with pytest.raises(HubError, match="4 requests of this task are being answered"):
        hub.ask("mood", "one more")
    assert hub.ask("topic", "a text").items[0].label
    stuck.go.set()
    assert all(call.result(20).scores for call in calls)


@pytest.mark.parametrize("answers", [True, False])
def test_a_trial_call_ends_a_suspension_if_it_is_answered(build, hang, monkeypatch, answers) -> None:
    from hub.serving.plugins import suspension

    monkeypatch.setattr(suspension, "FIRST_PAUSE_S", 0.0)
    hub, stuck = build(), hang("encode")
    for call in [hub.submit("mood", "hang") for _ in range(SHARE)]:
        assert isinstance(call.exception(20), PluginTimeout)
    if answers:
        assert hub.ask("mood", "a fine film").scores
        assert hub.ask("mood", "another").scores
        assert hanging(hub)["suspended"] is False
    else:
        monkeypatch.setattr(suspension, "MAX_PAUSE_S", 1000.0)
        hub.runtime.pipeline._pool.of("sentiment")._suspension._pause_s = 500.0
        with pytest.raises(PluginTimeout):
            hub.ask("mood", "hang")
        with pytest.raises(PluginSuspended):
            hub.ask("mood", "a fine film")
    assert hub.leases() == 0
    stuck.go.set()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_whatever_a_plugin_raises_is_its_own_fault(build, monkeypatch, step, error) -> None:
    hub = build()

    def fail(*given):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(SentimentTask, step, fail)
        for _ in range(2 * SHARE):
            (answer,) = hub.ask("mood", "a film").items
            assert isinstance(answer, PluginFailed) and type(error).__name__ in str(answer)
    assert hub.ask("mood", "a film").scores
    assert hub.runtime.status()["hanging"] == []
    assert hub.leases() == 0


def test_a_cancelled_call_that_hangs_gives_its_slot_back_at_the_time_limit(build, hang, until) -> None:
    hub, stuck = build(0.5), hang("encode", too_long=False)
    call = hub.submit("mood", "hang")
    stuck.entered(1)
    call.cancel()
    assert until(lambda: hub.leases() == 0)
    assert hanging(hub)["stuck_calls"] == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_shadow_that_hangs_keeps_no_caller_waiting_and_suspends_nothing(
    build, monkeypatch, watching, step, until, late
) -> None:
    hub, go = build(observer=watching), threading.Event()
    hub.runtime.deploy("mood", Deploy(version="mood@2", shadow=True, by="t"))
    real = getattr(SentimentTask, step)

    def patched(*given):
        if given[-1].version == 2:
            late()
            go.wait(60)
        return real(*given)

    monkeypatch.setattr(SentimentTask, step, patched)
    assert all(call.result(20).scores for call in [hub.submit("mood", "a film") for _ in range(2 * SHARE)])
    assert until(lambda: bool(hub.runtime.status()["hanging"]))
    assert hub.ask("mood", "another film").scores
    assert hanging(hub)["suspended"] is False
    assert until(lambda: hub.leases() == 0)
    go.set()
    assert until(lambda: hub.runtime.status()["hanging"] == [])


def test_the_time_a_tokenizer_takes_to_load_is_not_the_plugin_s(build, hang, monkeypatch) -> None:
    hub, stuck = build(0.5), hang("encode")
    load = base_workers.Tokenizers._load

    def slow(tokenizers):
        time.sleep(1.0)
        return load(tokenizers)

    with pytest.raises(PluginTimeout):
        hub.ask("mood", "hang")
    monkeypatch.setattr(base_workers.Tokenizers, "_load", slow)
    with pytest.raises(PluginTimeout):
        hub.ask("mood", "hang again")
    assert hub.ask("topic", "every tokenizer hangs, so another is loaded").items[0].label
    assert hub.leases() == 0
    stuck.go.set()


@pytest.mark.parametrize("step", STEPS)
def test_closing_does_not_wait_for_plugin_code(build, hang, monkeypatch, step) -> None:
    monkeypatch.setattr(plugin_pool, "GRACE_S", 0.1)
    hub, stuck = build(plugin_timeout_s=600), hang(step, too_long=False)
    calls = [hub.submit("mood", "hang") for _ in range(2 * SHARE)]
    stuck.entered(SHARE)
    hub.runtime.close()
    assert all(isinstance(call.exception(20), NotReady) for call in calls)


def test_draining_shortens_the_time_limit(build, hang, monkeypatch) -> None:
    monkeypatch.setattr(plugin_pool, "GRACE_S", 0.1)
    hub, stuck = build(plugin_timeout_s=2.0), hang("decode", too_long=False)
    call = hub.submit("mood", "hang")
    stuck.entered(1)
    hub.runtime.drain()
    with pytest.raises(PluginTimeout, match=r"within 0\.1 s"):
        call.result(20)


def test_a_thread_is_only_started_when_no_other_is_idle(build) -> None:
    before = set(threading.enumerate())  # a test before this one may have left threads that hang
    hub = build()
    for number in range(20):
        assert hub.ask("mood", f"film {number}").scores
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert 1 <= names.count("task-sentiment") <= SHARE
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("task-"))


def test_an_admission_refused_by_a_suspension_gives_its_slot_back(build, hang) -> None:
    hub, _ = build(), hang("encode")
    for call in [hub.submit("mood", "hang") for _ in range(SHARE)]:
        call.exception(20)

    async def admit_and_ask() -> str:
        with await hub.runtime.router.admit(by_name("mood")) as admission:
            try:
                await hub.runtime.pipeline.run(admission, [])
            except PluginSuspended as error:
                return error.code
        return ""

    assert asyncio.run_coroutine_threadsafe(admit_and_ask(), hub.loop).result(20) == "plugin_suspended"
    assert hub.leases() == 0


def test_a_task_of_its_own_hangs_beside_one_that_is_fine(build, hang) -> None:
    hub, _ = build(), hang("encode", ClassificationTask)
    for call in [hub.submit("topic", "hang") for _ in range(SHARE)]:
        assert isinstance(call.exception(20), PluginTimeout)
    with pytest.raises(PluginSuspended, match="'classification'"):
        hub.ask("topic", "a text")
    assert hub.ask("mood", "a film").scores


def read(hub, call):
    task = hub.runtime.router.routes.by_name["mood"].task
    return asyncio.run_coroutine_threadsafe(hub.runtime.pipeline.read(task, call), hub.loop).result(20)


def test_validation_that_hangs_ends_at_the_time_limit_and_counts_towards_suspension(
    build, until, late
) -> None:
    hub, go = build(), threading.Event()
    for _ in range(SHARE):
        with pytest.raises(PluginTimeout, match="validation"):
            read(hub, lambda: (late(), go.wait(60)))
    with pytest.raises(PluginSuspended):
        read(hub, lambda: 1)
    assert hub.ask("topic", "a text").items[0].label
    go.set()
    assert until(lambda: hub.runtime.status()["hanging"] == [])
    assert read(hub, lambda: 1) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("the caller's words")])
def test_validation_that_raises_is_the_plugins_fault(build, error, caplog) -> None:
    hub = build()

    def fail() -> None:
        raise error

    with pytest.raises(PluginFailed, match=type(error).__name__):
        read(hub, fail)
    assert "the caller's words" not in caplog.text
    assert read(hub, lambda: 1) == 1


def test_validation_that_refuses_a_request_is_the_clients_fault(build) -> None:
    def refuse() -> None:
        raise BadRequest("text: too short.")

    with pytest.raises(BadRequest, match="too short"):
        read(build(), refuse)


class Plain(Model):
    text: Text
    count: int = 3
    names: list[str] = Field(default_factory=list)


class Checked(Plain):
    @field_validator("count")
    @classmethod
    def check(cls, count: int) -> int:
        return count


class Nested(Model):
    inside: dict[str, list[Checked]]


class Made(Model):
    text: str = Field(default_factory=lambda: "")


class Backtracking(Model):
    model_config = ConfigDict(regex_engine="python-re")

    text: str = Field(pattern="(a+)+b")


class Initialized(Plain):
    def model_post_init(self, context: object) -> None:
        return


@pytest.mark.parametrize(
    ("model", "runs"),
    [
        (Plain, False),
        (Checked, True),
        (Nested, True),
        (Made, True),
        (Backtracking, True),
        (Initialized, True),
    ],
)
def test_requests_whose_validation_runs_plugin_code_are_known(model, runs) -> None:
    assert runs_plugin_code(model) is runs


def test_a_call_for_which_the_system_allows_no_thread_is_refused(monkeypatch) -> None:
    start, made = threading.Thread.start, plugin_pool.PluginPool(60, SHARE)

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("task-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with ThreadPoolExecutor(1) as caller, closing(made):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            call = caller.submit(made.call, "mood", "encode()", lambda: 1)
            assert isinstance(call.exception(20), NotReady)
            assert "no more threads" in str(call.exception())
        assert made.call("mood", "encode()", lambda: 2) == 2
