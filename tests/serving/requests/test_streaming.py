"""Streamed calls: the parts that a task makes of the texts of its rows, and what happens when it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from grafthub_generation.task import GenerationTask
from grafthub_summarization.models import SummarizationResponse
from grafthub_summarization.task import SummarizationTask
from pydantic import BaseModel

from hub.api import AnswerStream, BadRequest, FinishReason, HeadKind, Output, Row
from hub.engine.protocol import EngineRow, OnEnd, OnText
from hub.errors import EngineFailed, PluginFailed, PluginSuspended, PluginTimeout
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests import pipeline
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy
from tests.support.serving import Harness, let_time_pass

SECRET = "the words of a customer"


class WrittenRow:
    """A row whose text the test writes; a cancelled row ends at once, as before the next step."""

    def __init__(self, row: EngineRow, on_text: OnText, on_end: OnEnd) -> None:
        self.row = row
        self.write = on_text
        self.text = ""
        self.started_at = 0.0
        self.cancelled = False
        self._on_end = on_end

    def add(self, text: str) -> None:
        self.text += text
        self.write(text)

    def end(self) -> None:
        self._on_end(Output(self.row.row, None, self.text, len(self.text.split()), FinishReason.STOP))

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.end()


class Streamed:
    """A streamed call: `parts` receives its parts, then its answer or its error."""

    def __init__(self, hub: Harness, name: str, request: BaseModel) -> None:
        self.parts: Queue[str | CallAnswers | Exception] = Queue()
        self.version = ""
        self.running: Future[None] = asyncio.run_coroutine_threadsafe(self._run(hub, name, request), hub.loop)

    async def _run(self, hub: Harness, name: str, request: BaseModel) -> None:
        try:
            with await hub.runtime.router.admit(by_name(name)) as admission:
                self.version = str(admission.version.ref)
                async for part in hub.runtime.pipeline.stream(admission, request):
                    self.parts.put(part)
        except Exception as error:
            self.parts.put(error)

    def next(self) -> Any:
        return self.parts.get(timeout=30)

    def all(self) -> list[Any]:
        found = [self.next()]
        while isinstance(found[-1], str):
            found.append(self.next())
        return found


@pytest.fixture
def desk(add, start, monkeypatch) -> Callable[..., tuple[Harness, Queue[WrittenRow]]]:
    """Start a runtime with the deployments `digest` and `writer`; the test writes the texts of its rows."""

    def build(**limits: Any) -> tuple[Harness, Queue[WrittenRow]]:
        hub = start(limits=limits)
        for name, task in (("digest", "summarization"), ("writer", "generation")):
            for seed in (1, 2):
                add(name, seed, task=task, kind=HeadKind.GENERATE, labels=())
            hub.runtime.deploy(name, Deploy(version=f"{name}@1", by="t"))
        rows: Queue[WrittenRow] = Queue()

        def generate(row: EngineRow, on_text: OnText, on_end: OnEnd) -> WrittenRow:
            written = WrittenRow(row, on_text, on_end)
            rows.put(written)
            return written

        def encode(self: SummarizationTask, request: Any, *rest: Any) -> list[Row]:
            return [Row([1, 2, 3], max_new_tokens=8) for _ in request.document.split()]

        monkeypatch.setattr(SummarizationTask, "encode", encode)
        monkeypatch.setattr(hub.base_worker.engine, "generate", generate)
        return hub, rows

    return build


def digest(hub: Harness, parts: int) -> Streamed:
    """Ask for the summary of a document, which becomes a row for each of its words."""
    return Streamed(hub, "digest", SummarizationTask().request({"document": "part " * parts}))


def writer(hub: Harness, prompt: str = "film") -> Streamed:
    return Streamed(hub, "writer", GenerationTask().request({"prompt": prompt}))


def taken(rows: Queue[WrittenRow], count: int) -> list[WrittenRow]:
    return [rows.get(timeout=30) for _ in range(count)]


def counted(outputs: Sequence[Output]) -> SummarizationResponse:
    return SummarizationResponse(summary="", parts=len(outputs))


def changed_by(monkeypatch: pytest.MonkeyPatch, add: Callable[[int, str], Any]) -> None:
    """Let `add` make the parts of summaries."""

    class Changed(AnswerStream):
        def add(self, row: int, text: str) -> str:
            part: str = add(row, text)
            return part

    monkeypatch.setattr(SummarizationTask, "stream", lambda *given: Changed())


def test_the_rows_of_an_answer_are_streamed_in_their_order_and_make_up_its_text(desk) -> None:
    hub, rows = desk()
    stream = digest(hub, parts=3)
    first, second, third = taken(rows, 3)
    second.add(" Two")
    first.add(" One")
    assert stream.next() == "One"
    third.add("Three.")
    third.end()
    second.add(" and")
    first.add(" by one. ")
    assert stream.next() == " by one."
    first.end()
    assert stream.next() == "\nTwo and"
    second.add(" a half")
    assert stream.next() == " a half"
    second.end()
    assert stream.next() == "\nThree."
    answer = stream.next()
    assert answer.items[0].summary == "One by one.\nTwo and a half\nThree."
    assert hub.leases() == 0


def test_a_task_without_a_stream_sends_the_pieces_of_one_row_and_nothing_of_several(
    desk, monkeypatch
) -> None:
    monkeypatch.setattr(SummarizationTask, "stream", lambda *given: None)
    hub, rows = desk()
    monkeypatch.setattr(SummarizationTask, "decode", lambda self, request, outputs, adapter: counted(outputs))
    alone, several = digest(hub, parts=1), digest(hub, parts=2)
    written = taken(rows, 3)
    for row in written:
        row.add(" some ")
        row.add("text\n")
    for row in written:
        row.end()
    assert alone.all()[:-1] == [" some ", "text\n"]
    assert [answer.items[0].parts for answer in several.all()] == [2]


def test_parts_keep_their_order_under_many_streams_at_once(desk) -> None:
    hub, rows = desk()
    streams, row_count = 16, 3
    asked = [digest(hub, parts=row_count) for _ in range(streams)]
    written = taken(rows, streams * row_count)

    def write(row: WrittenRow) -> None:
        for number in range(50):
            row.add(f" {number}")
        row.end()

    with ThreadPoolExecutor(8) as engine:
        list(engine.map(write, written))
    line = " ".join(map(str, range(50)))
    for stream in asked:
        *parts, answer = stream.all()
        assert "".join(parts) == answer.items[0].summary == "\n".join([line] * row_count)
    assert hub.leases() == 0


@pytest.mark.parametrize("kind", [ValueError, BadRequest])
@pytest.mark.parametrize("ended", [False, True])
def test_a_raise_in_a_stream_fails_the_call_and_frees_its_rows(
    desk, monkeypatch, until, caplog, ended: bool, kind: type[Exception]
) -> None:
    def add(row: int, text: str) -> str:
        if text == SECRET:
            raise kind(f"cannot stand {text}")
        return text

    changed_by(monkeypatch, add)
    hub, rows = desk()
    stream = digest(hub, parts=2)
    first, second = taken(rows, 2)
    first.add("good")
    assert stream.next() == "good"
    first.add(SECRET)
    if ended:  # the error counts more than the answer
        first.end()
        second.end()
    error = stream.next()
    assert isinstance(error, PluginFailed)
    assert f"failed in stream ({kind.__name__})" in str(error)
    assert SECRET not in caplog.text + str(error)
    assert until(lambda: hub.leases() == 0)
    assert ended or (first.cancelled and second.cancelled)
    assert stream.parts.empty()


@pytest.mark.parametrize("returned", [None, b"bytes", "\ud800"])
def test_a_part_that_cannot_be_sent_is_the_plugins_fault(desk, monkeypatch, until, returned: object) -> None:
    changed_by(monkeypatch, lambda row, text: returned)
    hub, rows = desk()
    stream = digest(hub, parts=1)
    taken(rows, 1)[0].add("text")
    error = stream.next()
    assert isinstance(error, PluginFailed) and "part of the answer" in str(error)
    assert until(lambda: hub.leases() == 0)


@pytest.mark.parametrize("opened", [lambda *given: "no stream", lambda *given: 1 / 0])
def test_a_stream_that_cannot_be_opened_fails_the_call_before_it_costs_a_row(
    desk, monkeypatch, opened: Any
) -> None:
    monkeypatch.setattr(SummarizationTask, "stream", opened)
    hub, rows = desk()
    (answer,) = digest(hub, parts=1).all()
    assert isinstance(answer.items[0], PluginFailed) and "stream" in str(answer.items[0])
    assert rows.empty() and hub.leases() == 0


def test_a_slow_stream_delays_neither_the_engine_nor_other_requests(desk, monkeypatch) -> None:
    inside, gate = threading.Event(), threading.Event()
    seen: list[str] = []

    def add(row: int, text: str) -> str:
        seen.append(text)
        inside.set()
        assert gate.wait(30)
        return text

    changed_by(monkeypatch, add)
    hub, rows = desk()
    slow = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("0")
    assert inside.wait(30)
    for number in range(1, 100):
        row.add(f" {number}")  # returns at once: the engine is not held up
    monkeypatch.setattr(SummarizationTask, "stream", lambda *given: None)
    other = digest(hub, parts=1)
    (quick,) = taken(rows, 1)
    quick.add("quick")
    assert other.next() == "quick"
    gate.set()
    row.end()
    *parts, _ = slow.all()
    assert seen == parts == ["0", " ".join(["", *map(str, range(1, 100))])], (
        "waiting text is passed on at once"
    )


class Gated:
    """Parts of summaries, of which the first waits for a gate; `seen` has what the only thread has done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.gate = threading.Event(), threading.Event()
        self.seen: list[str] = []
        monkeypatch.setattr(pipeline, "encode_threads", lambda: 1)
        changed_by(monkeypatch, self._add)

    def _add(self, row: int, text: str) -> str:
        self.seen.append(text)
        self.inside.set()
        assert self.gate.wait(30)
        return text


def test_a_slow_stream_takes_turns_with_the_other_requests_of_its_task(desk, monkeypatch, until) -> None:
    slow = Gated(monkeypatch)
    hub, rows = desk()
    encode = SummarizationTask.encode
    stream = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("first")
    assert slow.inside.wait(30)
    row.add(" second")
    monkeypatch.setattr(
        SummarizationTask, "encode", lambda *given: slow.seen.append("other") or encode(*given)
    )
    digest(hub, parts=1)
    threads = hub.runtime.pipeline.pool.of("summarization")
    assert until(lambda: threads._queue.qsize() == 1)
    slow.gate.set()
    assert [stream.next(), stream.next()] == ["first", " second"]
    assert slow.seen == ["first", "other", " second"]


def test_text_that_waits_when_a_stream_is_cancelled_is_dropped(desk, monkeypatch, until) -> None:
    slow = Gated(monkeypatch)
    hub, rows = desk()
    stream = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("first")
    assert slow.inside.wait(30)
    row.add(" waits")
    stream.running.cancel()
    assert until(lambda: row.cancelled)
    slow.gate.set()
    for _ in range(2):  # the second comes after the stage for the text that waits
        hub.runtime.pipeline.pool.call("summarization", "a call", lambda: None)
    assert slow.seen == ["first"] and stream.parts.empty()


def test_a_stream_that_hangs_ends_after_the_time_limit(desk, monkeypatch, until) -> None:
    gate = threading.Event()
    hub, rows = desk(plugin_timeout_s=60)

    def hanging(row: int, text: str) -> str:
        let_time_pass(hub.runtime)
        gate.wait(60)
        return text

    changed_by(monkeypatch, hanging)
    stream = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("text")
    error = stream.next()
    assert isinstance(error, PluginTimeout) and "did not finish stream within 60 s" in str(error)
    assert until(lambda: hub.leases() == 0)
    assert row.cancelled
    gate.set()
    assert until(lambda: not hub.runtime.pipeline.hanging())
    assert stream.parts.empty()


def test_a_stream_of_a_task_that_is_suspended_meanwhile_ends(desk, monkeypatch, until) -> None:
    hub, rows = desk()
    stream = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("before")
    assert stream.next() == "before"
    monkeypatch.setattr(TaskThreads, "suspended", True)
    row.add(" after")
    assert isinstance(stream.next(), PluginSuspended)
    assert until(lambda: row.cancelled and hub.leases() == 0)


def test_a_cancelled_stream_frees_its_rows_and_drops_what_is_written_later(desk, monkeypatch, until) -> None:
    seen: list[str] = []
    changed_by(monkeypatch, lambda row, text: seen.append(text) or text)
    hub, rows = desk()
    stream = digest(hub, parts=2)
    first, second = taken(rows, 2)
    first.add("before")
    assert stream.next() == "before"
    stream.running.cancel()
    assert until(lambda: first.cancelled and second.cancelled)
    assert until(lambda: hub.leases() == 0)
    threads = hub.runtime.pipeline.pool.of("summarization")
    monkeypatch.setattr(threads, "submit", lambda work: pytest.fail("the text was not dropped"))
    second.write("after")
    assert seen == ["before"] and stream.parts.empty()


def test_a_row_that_fails_fails_the_call_after_the_parts_so_far(desk) -> None:
    hub, rows = desk()
    stream = digest(hub, parts=2)
    first, second = taken(rows, 2)
    first.add("one")
    assert stream.next() == "one"
    first._on_end(EngineFailed("The engine failed."))
    second.add("two")
    second.end()
    (answer,) = stream.all()
    assert isinstance(answer.items[0], EngineFailed)


def test_a_change_of_the_deployment_leaves_a_running_stream_to_its_version(desk) -> None:
    hub, rows = desk()
    stream = digest(hub, parts=1)
    (row,) = taken(rows, 1)
    row.add("old")
    assert stream.next() == "old"
    hub.runtime.deploy("digest", Deploy(version="digest@2", by="t"))
    after = digest(hub, parts=1)
    (other,) = taken(rows, 1)
    for written in (row, other):
        written.add(" text")
        written.end()
    assert [stream.next(), stream.next().items[0].summary] == [" text", "old text"]
    assert after.all()[-1].items[0].summary == "text"
    assert (stream.version, after.version) == ("digest@1", "digest@2")
    assert row.row.slot != other.row.slot


def test_unchanged_pieces_need_no_thread_of_the_plugin(desk, monkeypatch) -> None:
    hub, rows = desk()
    stream = writer(hub)
    (row,) = taken(rows, 1)
    threads = hub.runtime.pipeline.pool.of("generation")
    monkeypatch.setattr(threads, "submit", lambda work: pytest.fail("no stage is needed"))
    row.add(" a piece ")
    assert stream.next() == " a piece "
    monkeypatch.undo()
    row.end()
    assert stream.next().items[0].text == " a piece "
