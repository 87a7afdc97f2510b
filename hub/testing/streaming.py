"""Streams an answer of a task through the hub's own pipeline, while an engine writes given texts.

answer = stream_answer(spec, {"text": "It burns!"}, [[" Fire ", "in the", " house\n"]])
assert answer.parts == ["Fire", " in the", " house"]
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, closing, contextmanager
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_json

from hub.api import AdapterInfo, AnswerStream, FinishReason, Output, Row, TaskSpec, Tokenizer
from hub.config import LimitSettings
from hub.engine.fake import FakeEngine
from hub.engine.protocol import EngineRow, Generating, OnEnd, OnText
from hub.engine.slots.table import SlotTable
from hub.errors import EngineFailed
from hub.registry.loaded import LoadedTask, load_task
from hub.serving.batching.base_workers import BaseWorker
from hub.serving.batching.batcher import Batcher
from hub.serving.observation import Track
from hub.serving.requests.parsing import parse
from hub.serving.requests.pipeline import CallAnswers, Pipeline
from hub.serving.routing.router import Admission, Held
from hub.serving.routing.routes import Route, Target
from hub.testing.samples import tokenizer_for

__all__ = ["StreamedAnswer", "stream_answer"]

WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """The parts of a streamed answer, in order, and the response at its end."""

    parts: Sequence[str]
    response: BaseModel


def stream_answer(
    spec: TaskSpec,
    request: Mapping[str, Any],
    texts: Sequence[Sequence[str]],
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> StreamedAnswer:
    """Stream the answer to a request, given as JSON values, as a server does.

    `texts` has the text of each row in the pieces that the engine writes, which rows take in turns; the task
    gets each piece alone. `options` are those of the recipe. The error of the request is raised.
    """
    return asyncio.run(_stream(load_task(spec), request, texts, options))


async def _stream(
    loaded: LoadedTask, body: Mapping[str, Any], texts: Sequence[Sequence[str]], options: Mapping[str, Any]
) -> StreamedAnswer:
    settings = loaded.task.options.model_validate(dict(options)).model_dump(mode="json")
    info = AdapterInfo("test", 1, (), MappingProxyType(settings), loaded.task.max_length)
    request = parse(to_json(dict(body)), loaded.request)
    parts: list[str] = []
    with ExitStack() as stack:
        pipeline = stack.enter_context(closing(Pipeline(LimitSettings(), asyncio.get_running_loop())))
        engine = _WritingEngine(loaded, texts)
        batcher = Batcher(engine, name="test", batch_rows=64, queued_rows=4096, deliver=pipeline.forwarded)
        stack.callback(batcher.close)
        async with aclosing(pipeline.stream(_admission(loaded, info, batcher), request)) as answer:
            async for part in answer:
                if isinstance(part, CallAnswers):
                    part.only()
                    return StreamedAnswer(parts, cast(BaseModel, part.items[0]))
                parts.append(part)
    raise AssertionError("a stream ends with its answer")


def _admission(loaded: LoadedTask, info: AdapterInfo, batcher: Batcher) -> Admission:
    """Admit a request to a version whose adapter is in the only slot."""
    table = SlotTable(1)
    table.reserve("test")
    table.commit("test", 0.0)
    lease = table.lease("test")
    assert lease is not None, "the version is resident"
    version: Any = SimpleNamespace(ref="test@1")
    target = Target(version, info)
    base_worker: Any = SimpleNamespace(
        base=SimpleNamespace(max_length=info.max_length),
        batcher=batcher,
        tokenizers=_Tokenizers(tokenizer_for(loaded.spec.head)),
    )
    deployment: Any = SimpleNamespace(name="test")
    held = Held(target, cast(BaseWorker, base_worker), lease)
    return Admission(Route(deployment, loaded, target), Track.STABLE, held)


class _Tokenizers:
    """Lends the tokenizer of the conformance tests, to one call at a time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def take(self) -> Tokenizer:
        return self._tokenizer

    def give_back(self, tokenizer: Tokenizer) -> bool:
        return True


class _Paced(AnswerStream):
    """Tells the engine when the task has taken a piece."""

    def __init__(self, stream: AnswerStream, taken: threading.Semaphore) -> None:
        self._stream = stream
        self._taken = taken

    def add(self, row: int, text: str) -> str:
        with self._taking():
            return self._stream.add(row, text)

    def end(self, row: int) -> str:
        with self._taking():
            return self._stream.end(row)

    @contextmanager
    def _taking(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._taken.release()


class _WritingEngine(FakeEngine):
    """Writes the given texts once it has all rows, in a thread, each piece when the last one was taken."""

    started_at = 0.0

    def __init__(self, loaded: LoadedTask, texts: Sequence[Sequence[str]]) -> None:
        super().__init__(slots=1)
        self._texts = texts
        self._expected = 0  # rows
        self._rows: list[tuple[EngineRow, OnText, OnEnd]] = []
        self._taken: threading.Semaphore | None = None
        self._cancelled = False
        stream = loaded.task.stream

        def paced(request: BaseModel, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream | None:
            self._expected = len(rows)
            found = stream(request, rows, adapter)
            if not isinstance(found, AnswerStream):
                return found
            self._taken = threading.Semaphore(0)
            return _Paced(found, self._taken)

        loaded.task.stream = paced  # type: ignore[method-assign]

    def generate(self, row: EngineRow, on_text: OnText, on_end: OnEnd) -> Generating:
        if self._expected != len(self._texts):
            raise EngineFailed(f"The request has {self._expected} rows, the test {len(self._texts)} texts.")
        self._rows.append((row, on_text, on_end))
        if len(self._rows) == self._expected:
            threading.Thread(target=self._write, name="test-engine", daemon=True).start()
        return self

    def cancel(self) -> None:
        self._cancelled = True
        if self._taken:
            self._taken.release()

    def _write(self) -> None:
        for place in range(max(map(len, self._texts)) + 1):
            for pieces, (row, on_text, on_end) in zip(self._texts, self._rows, strict=True):
                if place < len(pieces) and pieces[place] and not self._cancelled:
                    on_text(pieces[place])
                    self._wait()
                elif place == len(pieces):
                    on_end(Output(row.row, None, "".join(pieces), len(pieces), FinishReason.STOP))
                    self._wait()

    def _wait(self) -> None:
        """Wait until the task has taken what was written last."""
        if self._taken and not self._cancelled:
            self._taken.acquire(timeout=WAIT_S)
