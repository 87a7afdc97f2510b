"""The streaming test of plugin authors: given texts go through the pipeline and come out as parts."""

from __future__ import annotations

import threading

import pytest
from grafthub_generation import hub_tasks as generation
from grafthub_summarization import hub_tasks as summarization
from grafthub_summarization.task import SummarizationTask

from hub.api import AnswerStream
from hub.errors import EngineFailed, InvalidText, PluginFailed
from hub.testing.streaming import stream_answer

(GENERATION,) = generation()
(SUMMARIZATION,) = summarization()
REQUEST = {"document": "It rains. " * 200}
OPTIONS = {"instruction": "{document}", "max_new_tokens": 400}
TEXTS = [[" One", " part. "], ["Two", "\n", "parts"], ["\n", ""], ["Four."]]


def test_pieces_become_parts_and_an_answer() -> None:
    answer = stream_answer(GENERATION, {"prompt": "Hello"}, [[" a ", "text\n"]])
    assert answer.parts == [" a ", "text\n"]
    assert (answer.response.text, answer.response.completion_tokens) == (" a text\n", 2)


def test_rows_are_written_in_turns_and_each_piece_is_taken_alone() -> None:
    answer = stream_answer(SUMMARIZATION, REQUEST, TEXTS, options=OPTIONS)
    assert answer.parts == ["One", " part.", "\nTwo", "\nparts", "\nFour."]
    assert answer.response.summary == "".join(answer.parts)


def test_errors_are_raised() -> None:
    with pytest.raises(InvalidText):
        stream_answer(GENERATION, {"prompt": ""}, [["text"]])
    with pytest.raises(EngineFailed, match="has 1 rows, the test 2 texts"):
        stream_answer(GENERATION, {"prompt": "Hello"}, [["text"], ["more"]])


def test_a_stream_that_raises_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(AnswerStream):
        def add(self, row: int, text: str) -> str:
            return {"good": "good"}[text]

    monkeypatch.setattr(SummarizationTask, "stream", lambda *given: Broken())
    before = set(threading.enumerate())  # of other tests
    with pytest.raises(PluginFailed, match="failed in stream"):
        stream_answer(SUMMARIZATION, {"document": "short"}, [["good", "bad", "never"]])
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert "test-engine" not in names and not any(name.startswith("task-") for name in names)
