"""Faults of plugin code cost the requests that meet them, and are counted."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import Counter

import pytest
from grafthub_sentiment.models import SentimentRequest
from grafthub_sentiment.task import SentimentTask
from pydantic import BaseModel

from hub.api import AdapterInfo, Model, Row
from hub.errors import PluginFailed, PluginTimeout
from hub.serving.meter import Meter
from hub.serving.plugins.own_copies import own_info, own_request
from hub.serving.plugins.returned import check_rows
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy


class Counting(Meter):
    """Keeps the faults."""

    def __init__(self) -> None:
        self.faults: Counter[tuple[str, str, str]] = Counter()

    def plugin_fault(self, task: str, step: str, fault: str) -> None:
        self.faults[task, step, fault] += 1


@pytest.fixture
def meter() -> Counting:
    return Counting()


@pytest.fixture
def live(add, start, meter):
    """A runtime with `mood` (sentiment), whose options have a list in them."""

    def build(observer=None, **limits):
        hub = start(limits=limits, meter=meter, observer=observer)
        add(seed=1, settings={"neutral": [0.4, 0.6]}), add(seed=2)
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
        return hub

    return build


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(5)


@pytest.mark.parametrize("step", ["encode", "decode"])
@pytest.mark.parametrize(
    "error", [RecursionError("too deep"), MemoryError(), SystemExit(3), KeyboardInterrupt(), Unprintable()]
)
def test_one_request_of_a_call_that_raises_anything_fails_alone_and_is_counted(
    live, meter, monkeypatch, step, error
) -> None:
    hub, real = live(), getattr(SentimentTask, step)

    def fail(task, request, *given):
        if request.text == "bad":
            raise error
        return real(task, request, *given)

    monkeypatch.setattr(SentimentTask, step, fail)
    good, bad, fine = hub.ask("mood", "good", "bad", "fine").items
    assert good.label and fine.label
    assert type(bad) is PluginFailed and type(error).__name__ in str(bad)
    assert meter.faults == {("sentiment", step, "raised"): 1}


def test_recursion_without_an_end_and_more_memory_than_there_is_end_one_request(live, monkeypatch) -> None:
    hub, real = live(), SentimentTask.encode

    def deep(task, request, *given):
        if request.text == "deep":
            return deep(task, request, *given)
        if request.text == "large":
            return bytearray(1 << 60)
        return real(task, request, *given)

    monkeypatch.setattr(SentimentTask, "encode", deep)
    recursion, memory, fine = hub.ask("mood", "deep", "large", "fine").items
    assert "RecursionError" in str(recursion) and "MemoryError" in str(memory) and fine.label


def test_wrong_returns_and_hangs_are_counted(live, meter, monkeypatch) -> None:
    hub, go = live(plugin_timeout_s=0.2), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(SentimentTask, "decode", lambda *given: None)
        assert isinstance(hub.ask("mood", "a film").items[0], PluginFailed)
    with monkeypatch.context() as patch:
        patch.setattr(SentimentTask, "encode", lambda *given: go.wait(60))
        with pytest.raises(PluginTimeout):
            hub.ask("mood", "a film")
    go.set()
    assert meter.faults == {("sentiment", "decode", "wrong_return"): 1, ("sentiment", "encode", "timeout"): 1}


def test_what_a_plugin_prints_is_discarded_and_named_once(live, meter, monkeypatch, capsys, caplog) -> None:
    hub, real = live(), SentimentTask.encode

    def printing(task, request, *given):
        print("the secret", request.text)
        sys.stdout.buffer.write(b"raw secret")
        sys.stdout.flush()
        return real(task, request, *given)

    monkeypatch.setattr(SentimentTask, "encode", printing)
    for _ in range(2):
        assert hub.ask("mood", "of Kunigunde").scores
    print("mine")
    assert capsys.readouterr().out == "mine\n"
    assert caplog.text.count("encode prints to standard output, at ") == 1
    assert f"{__file__}:" in caplog.text
    assert "secret" not in caplog.text and "Kunigunde" not in caplog.text
    assert meter.faults == {("sentiment", "encode", "printed"): meter.faults.total()}


def test_the_log_of_a_plugin_that_prints_is_kept(live, monkeypatch, caplog) -> None:
    hub, real = live(), SentimentTask.encode

    def logging_too(task, *given):
        logging.getLogger("acme").warning("a model is missing")
        return real(task, *given)

    monkeypatch.setattr(SentimentTask, "encode", logging_too)
    assert hub.ask("mood", "a film").scores
    assert "a model is missing" in caplog.text


class Loose(BaseModel):
    """A request that can be changed."""

    text: str
    tags: list[str]


def test_a_request_that_is_changed_is_changed_for_nobody_else(live, monkeypatch, watching, until) -> None:
    hub, real = live(observer=watching), SentimentTask.encode
    hub.runtime.deploy("mood", Deploy(version="mood@2", shadow=True, by="t"))
    seen: list[list[str]] = []

    def changing(task, request, *given):
        seen.append(list(request.tags))
        request.tags.append("changed")
        request.text = request.text.upper()
        return real(task, SentimentRequest(text=request.text), *given)

    monkeypatch.setattr(SentimentTask, "encode", changing)
    request = Loose(text="a film", tags=["mine"])

    async def ask() -> object:
        with await hub.runtime.router.admit(by_name("mood"), "") as admission:
            return (await hub.runtime.pipeline.run(admission, [request])).items[0]

    assert asyncio.run_coroutine_threadsafe(ask(), hub.loop).result(30).label
    assert until(lambda: len(watching.seen) == 1)
    assert watching.seen[0].request == request == Loose(text="a film", tags=["mine"])
    assert seen == [["mine"]] * len(seen) and len(seen) == 2, "the shadow has a copy of its own"


def test_settings_that_are_changed_are_changed_for_nobody_else(live, monkeypatch) -> None:
    hub, real, seen = live(), SentimentTask.encode, []

    def changing(task, request, tokenizer, adapter):
        seen.append(list(adapter.settings["neutral"]))
        adapter.settings["neutral"].clear()
        return real(task, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", changing)
    for _ in range(2):
        hub.ask("mood", "a film")
    assert seen == [[0.4, 0.6]] * 2
    version = hub.runtime.router.routes.by_name["mood"].version
    assert version.manifest.serving.settings["neutral"] == [0.4, 0.6]


def test_rows_and_outputs_that_are_changed_are_those_of_one_request(live, monkeypatch) -> None:
    hub, encode, decode = live(), SentimentTask.encode, SentimentTask.decode
    alone = {text: hub.ask("mood", text).scores for text in ("one", "two", "three")}
    kept: list[list[int]] = []

    def keeping(task, request, *given):
        for ids in kept:
            ids.clear()  # of rows that wait for the engine
        rows = [Row(list(row.input_ids), row.token_type_ids) for row in encode(task, request, *given)]
        kept.extend(row.input_ids for row in rows)
        return rows

    def overwriting(task, request, outputs, adapter):
        answer = decode(task, request, outputs, adapter)
        for output in outputs:
            output.values[:] = 0
        return answer

    monkeypatch.setattr(SentimentTask, "encode", keeping)
    monkeypatch.setattr(SentimentTask, "decode", overwriting)
    together = hub.ask("mood", *alone).items
    assert [item.scores for item in together] == list(alone.values())


def test_a_tokenizer_that_is_changed_is_not_lent_again(live, meter, monkeypatch) -> None:
    hub, real, seen = live(), SentimentTask.encode, []

    def changing(task, request, tokenizer, adapter):
        seen.append((len(tokenizer), tokenizer.truncation_side))
        tokenizer.add_tokens([f"new{len(seen)}"])
        tokenizer.truncation_side = "left"
        return real(task, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", changing)
    for number in range(12):  # more than there are copies
        assert hub.ask("mood", f"film {number}").scores
    assert set(seen) == {(seen[0][0], "right")}
    assert meter.faults == {("sentiment", "encode", "changed_tokenizer"): 12}


def test_requests_and_settings_are_copied_only_if_they_can_be_changed() -> None:
    class Fixed(Model):
        text: str
        n: int | None = None

    class Listed(Model):
        texts: list[str]

    fixed, listed = Fixed(text="a"), Listed(texts=["a"])
    assert own_request(fixed) is fixed
    assert own_request(listed) == listed and own_request(listed).texts is not listed.texts
    plain = AdapterInfo("a", 1, settings={"threshold": 0.5})
    nested = AdapterInfo("a", 1, settings={"thresholds": {"x": 0.5}})
    assert own_info(plain) is plain
    assert own_info(nested) == nested and own_info(nested).settings["thresholds"] is not nested.settings


@pytest.mark.parametrize(("field", "value"), [("sampling", {"seed": 1}), ("pooling", "mean of all")])
def test_a_row_that_would_fail_in_the_engine_is_refused_before(field, value) -> None:
    with pytest.raises(Exception, match=f"as {field}"):
        check_rows([Row([1, 2], **{field: value})], 64)
