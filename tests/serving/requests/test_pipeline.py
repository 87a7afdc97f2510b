"""Calls on their way: isolation of items, limits, cancellation, and faults in plugins."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.errors import DeadlineExceeded, EngineFailed, HubError, InvalidText, Overloaded, TooLarge
from hub.serving.plugins import threads
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy

SECRET = "the words of a customer"


@pytest.fixture
def live(add, start):
    """A runtime with the deployment `mood`."""
    hub = start()
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    return hub


def hold(hub, monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Keep the engine in its next forward until the second event is set; the first says it is there."""
    inside, gate = threading.Event(), threading.Event()
    run = hub.base_worker.engine.run

    def held(rows, *, aside=False):
        if not aside:
            inside.set()
            gate.wait(30)
        return run(rows, aside=aside)

    monkeypatch.setattr(hub.base_worker.engine, "run", held)
    return inside, gate


def test_items_of_a_call_come_back_in_order(live) -> None:
    texts = [f"film number {number}" for number in range(20)]
    alone = [live.ask("mood", text).scores for text in texts]
    together = [item.scores for item in live.ask("mood", *texts).items]
    assert together == alone
    assert len({tuple(scores.items()) for scores in alone}) == len(texts)


def test_a_fault_in_a_plugin_fails_its_item_alone_and_logs_no_text(live, monkeypatch, caplog) -> None:
    encode = SentimentTask.encode

    def faulty(self, request, tokenizer, adapter):
        if request.text == SECRET:
            raise ValueError(f"cannot stand {request.text}")
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", faulty)
    bad, good = live.ask("mood", SECRET, "a fine film").items
    assert isinstance(bad, HubError)
    assert (bad.code, bad.status) == ("plugin_failed", 500)
    assert "fault in the plugin" in str(bad)
    assert good.label in ("negative", "positive")
    assert "test_pipeline.py" in caplog.text, "the log says where"
    assert SECRET not in caplog.text + str(bad)
    assert live.leases() == 0


def test_a_fault_in_decoding_is_told_apart(live, monkeypatch) -> None:
    monkeypatch.setattr(SentimentTask, "decode", lambda self, request, outputs, adapter: 1 / 0)
    (answer,) = live.ask("mood", "a film").items
    assert isinstance(answer, HubError)
    assert "failed in decode (ZeroDivisionError)" in str(answer)


def test_an_error_a_plugin_raises_on_purpose_is_passed_on(live, monkeypatch) -> None:
    def refuse(self, request, tokenizer, adapter):
        raise InvalidText("Not in this language.")

    monkeypatch.setattr(SentimentTask, "encode", refuse)
    with pytest.raises(InvalidText, match="Not in this language"):
        _ = live.ask("mood", "un film").scores


def test_a_row_the_base_cannot_take_is_the_plugins_fault(live, monkeypatch) -> None:
    from hub.api import Row

    monkeypatch.setattr(SentimentTask, "encode", lambda *given: [Row(list(range(100)))])
    (answer,) = live.ask("mood", "a film").items
    assert isinstance(answer, HubError)
    assert "longer than the 64 tokens" in str(answer)


def test_a_call_over_the_row_limit_is_refused(add, start) -> None:
    hub = start(limits={"rows": 3})
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert len(hub.ask("mood", "a", "b", "c").items) == 3
    with pytest.raises(TooLarge, match=r"limits\.rows"):
        hub.ask("mood", "a", "b", "c", "d")
    assert hub.leases() == 0


def test_calls_beyond_the_queue_are_refused_before_they_cost_anything(add, start, monkeypatch) -> None:
    hub = start(limits={"queued_rows": 2})
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    inside, gate = hold(hub, monkeypatch)
    calls = [hub.submit("mood", "a film") for _ in range(2)]
    assert inside.wait(10)
    with pytest.raises(Overloaded):
        hub.ask("mood", "one more")
    gate.set()
    assert all(call.result(10).scores for call in calls)
    assert hub.ask("mood", "and now?").scores
    assert hub.leases() == 0


def test_every_item_of_a_call_counts_towards_the_queue(add, start, monkeypatch) -> None:
    hub = start(limits={"queued_rows": 4})
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    inside, gate = hold(hub, monkeypatch)
    call = hub.submit("mood", "a", "b", "c", "d")
    assert inside.wait(10)
    with pytest.raises(Overloaded, match=r"4 requests .* limit is 4 \(limits\.queued_rows\)"):
        hub.ask("mood", "one more")
    gate.set()
    assert len(call.result(10).items) == 4
    assert len(hub.ask("mood", *"abcdef").items) == 6, "a call that is alone is not refused"


def test_a_call_is_answered_before_the_next_one_of_its_forward_is_decoded(live, monkeypatch, until) -> None:
    inside, gate = hold(live, monkeypatch)
    calls = [live.submit("mood", "holds the engine")]
    assert inside.wait(10)
    for queued, text in enumerate(("first", "second"), start=1):  # in this order, which encoding may change
        calls.append(live.submit("mood", text))
        assert until(lambda queued=queued: live.base_worker.batcher.waiting == queued)
    decode, answered = SentimentTask.decode, []

    def slow(self, request, outputs, adapter):
        if request.text == "second":
            answered.append(until(calls[1].done, 10))
        return decode(self, request, outputs, adapter)

    monkeypatch.setattr(threads, "SLOW_S", 60.0)
    monkeypatch.setattr(SentimentTask, "decode", slow)
    gate.set()
    assert [len(call.result(20).items) for call in calls] == [1, 1, 1]
    assert answered == [True]


def test_a_deadline_is_observed_by_its_type_and_not_by_the_text_of_a_cancellation(
    add, start, watching, monkeypatch
) -> None:
    hub = start(observer=watching)
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    inside, gate = hold(hub, monkeypatch)

    first = hub.submit("mood", "holds the engine")
    assert inside.wait(10)

    async def cancelled(reason: object) -> None:
        task = asyncio.ensure_future(hub._ask("mood", ["waits"], ""))
        while not hub.base_worker.batcher.waiting:
            await asyncio.sleep(0.01)
        task.cancel(reason)
        with suppress(asyncio.CancelledError):
            await task

    impatient = DeadlineExceeded("its client waits no longer")
    impatient.by_client = True
    for reason in (DeadlineExceeded("late"), "deadline_exceeded", None, impatient):
        asyncio.run_coroutine_threadsafe(cancelled(reason), hub.loop).result(20)
    assert [one.error for one in watching.seen] == ["deadline_exceeded", *["cancelled"] * 3]
    gate.set()
    assert first.result(10).scores


def test_a_failing_engine_is_an_error_for_the_call_and_not_the_end(live, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(live.base_worker.engine, "run", lambda rows, **how: 1 / 0)
        with pytest.raises(EngineFailed):
            _ = live.ask("mood", "a film").scores
    assert live.ask("mood", "a film").scores
    assert live.leases() == 0


def test_the_slot_stays_leased_while_a_cancelled_call_is_in_a_forward(live, monkeypatch, until) -> None:
    inside, gate = hold(live, monkeypatch)
    call = live.submit("mood", "a film")
    assert inside.wait(10)
    call.cancel()
    live.loop.call_soon_threadsafe(lambda: None)
    assert not until(lambda: live.leases() == 0, seconds=0.3), "the engine still reads the slot"
    gate.set()
    assert until(lambda: live.leases() == 0)


def test_a_cancelled_call_that_waits_is_never_run(live, monkeypatch, until) -> None:
    inside, gate = hold(live, monkeypatch)
    first = live.submit("mood", "in the forward")
    assert inside.wait(10)
    waiting = live.submit("mood", "waits", "too")
    assert until(lambda: live.base_worker.batcher.waiting == 2)
    waiting.cancel()
    assert until(lambda: live.base_worker.batcher.waiting == 0)
    assert live.leases() == 1
    gate.set()
    assert first.result(10).scores
    assert until(lambda: live.leases() == 0)


def test_a_call_cancelled_while_it_is_encoded_gives_its_slot_back(live, monkeypatch, until) -> None:
    encoding, go = threading.Event(), threading.Event()
    encode = SentimentTask.encode

    def slow(self, request, tokenizer, adapter):
        encoding.set()
        go.wait(30)
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", slow)
    call = live.submit("mood", "a film")
    assert encoding.wait(10)
    call.cancel()
    go.set()
    assert until(lambda: live.leases() == 0)


def test_an_admission_that_is_not_used_gives_its_slot_back(live) -> None:
    async def admit_and_leave() -> int:
        with await live.runtime.router.admit(by_name("mood")):
            return live.leases()

    assert asyncio.run_coroutine_threadsafe(admit_and_leave(), live.loop).result(10) == 1
    assert live.leases() == 0
