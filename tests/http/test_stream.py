"""Answers as server-sent events: what a client reads, and what a failure looks like."""

from __future__ import annotations

import json
import threading
from itertools import count
from types import SimpleNamespace

import pytest
from grafthub_summarization.task import SummarizationTask

from hub.api import AnswerStream, HeadKind
from hub.engine.fake import FakeEngine
from hub.errors import EngineFailed
from hub.http import stream
from hub.http.metrics.metrics import Metrics
from hub.http.telemetry import record
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

EVENTS = {"accept": "text/event-stream"}
REQUEST = {"text": "a warm film", "source_language": "en", "target_language": "fr"}


DIGEST = {"instruction": "{document}", "max_new_tokens": 16}
DOCUMENT = {"document": "A fine film. " * 30}  # in several parts


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_base_folder):
    """A deployment of each of four tasks."""
    home = FakeHome(tmp_path_factory.mktemp("streaming"), tiny_base_folder)
    texts = {"kind": HeadKind.GENERATE, "labels": ()}
    for name, made in {
        "desk": {"task": "translation", **texts},
        "writer": {"task": "generation", **texts},
        "digest": {"task": "summarization", **texts, "settings": DIGEST},
        "mood": {"seed": 1},
    }.items():
        home.store.deploy(name, Deploy(version=home.add(name, **made).ref))
    return home


@pytest.fixture(scope="module")
def client(home):
    with serve(home.path) as client:
        yield client


def read(client, path="/v1/deployments/desk/predict", body=REQUEST):
    """Return the response and its events, as (name, data)."""
    with client.stream("POST", path, json=body, headers=EVENTS) as response:
        events = []
        for block in response.read().decode().split("\n\n")[:-1]:
            name, data = block.split("\n")
            events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return response, events


def test_the_first_event_names_the_version_and_the_last_has_the_answer_and_its_counts(client, home) -> None:
    version = home.store.get("desk@1")
    response, events = read(client)
    whole = client.post("/v1/deployments/desk/predict", json=REQUEST).json()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-hub-version"] == str(version.ref)
    (start, about), *texts, (end, result) = events
    assert start == "start"
    assert about == {
        "deployment": "desk",
        "version": str(version.ref),
        "sha256": version.sha256,
        "track": "stable",
    }
    assert texts and {name for name, _ in texts} == {"text"}
    assert "".join(piece["text"] for _, piece in texts) == whole["translation"]
    assert end == "end" and result["response"] == whole
    assert result["prompt_tokens"] > 0 and result["completion_tokens"] > 0
    assert result["finish_reason"] == "length"


def test_the_pieces_of_a_generated_text_are_its_whole_text(client) -> None:
    _, events = read(client, "/v1/tasks/generation", {"prompt": "Once upon", "max_new_tokens": 3})
    refused, _ = read(client, "/v1/tasks/generation", {"prompt": "word " * 3000})
    _, *texts, (_, result) = events
    answer = result.pop("response")
    assert result.pop("cached_tokens") == 0
    assert len(texts) > 1
    assert answer == {"text": "".join(piece["text"] for _, piece in texts), **result}
    assert refused.status_code == 413


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 9}, "num_beams"),
        ({"num_beams": 2, "length_penalty": 6}, "length_penalty"),
        ({"num_beams": 2, "temperature": 0.5}, "without `temperature`"),
    ],
)
def test_beams_that_make_no_sense_are_refused(client, sampling, message) -> None:
    body = {"prompt": "Once upon", "max_new_tokens": 3}
    for headers in (EVENTS, {}):
        refused = client.post("/v1/tasks/generation", json=body | sampling, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")
        assert message in refused.json()["error"]["message"]
    assert client.post("/v1/tasks/generation", json=body | {"num_beams": 8}).status_code == 200


def test_the_route_of_a_task_streams_too(client) -> None:
    _, events = read(client, "/v1/tasks/translation", {**REQUEST, "deployment": "desk"})
    assert [events[0][0], events[-1][0]] == ["start", "end"]


def test_a_task_that_generates_no_text_has_no_pieces(client) -> None:
    _, events = read(client, "/v1/deployments/mood/predict", {"text": "a warm film"})
    assert [name for name, _ in events] == ["start", "end"]
    assert events[1][1]["completion_tokens"] == 0 and events[1][1]["finish_reason"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/deployments/nothing/predict", REQUEST, 404, "not_found"),
        ("/v1/deployments/desk/predict", {"text": ""}, 400, "invalid_text"),
        ("/v1/deployments/desk/predict", {"items": [REQUEST]}, 400, "bad_request"),
        ("/v1/deployments/desk/predict", {"text": 3}, 400, "bad_request"),
    ],
)
def test_an_error_before_the_first_piece_is_an_ordinary_error(client, path, body, status, code) -> None:
    reply = client.post(path, json=body, headers=EVENTS)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_a_failure_in_the_middle_is_an_error_event_and_no_clean_end(client, monkeypatch) -> None:
    def fail(self, row, on_text, on_end):
        on_text("the first words")
        on_end(EngineFailed("The engine failed (RuntimeError)."))
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr(FakeEngine, "generate", fail)
    response, events = read(client)
    assert response.status_code == 200
    assert [name for name, _ in events] == ["start", "text", "error"]
    assert events[-1][1]["error"]["code"] == "engine_failed"


def test_the_rows_of_one_answer_are_streamed_as_its_text(client) -> None:
    _, events = read(client, "/v1/tasks/summarization", DOCUMENT)
    _, *texts, (end, result) = events
    assert end == "end"
    assert result["response"]["parts"] > 1
    assert "".join(piece["text"] for _, piece in texts) == result["response"]["summary"]


def test_a_task_that_raises_in_the_middle_of_a_stream_ends_it_with_an_error_event(
    client, monkeypatch
) -> None:
    sent = threading.Event()
    send = stream._send

    async def watched(to, event):
        await send(to, event)
        if event.startswith(b"event: text"):
            sent.set()

    class Broken(AnswerStream):
        def add(self, row, text):
            return {"good": "good"}[text]

    def generate(self, row, on_text, on_end):
        def write():
            on_text("good")
            assert sent.wait(30)
            on_text("bad")

        threading.Thread(target=write).start()
        return SimpleNamespace(cancel=lambda: on_end(self._answer(row)), started_at=0.0)

    monkeypatch.setattr(stream, "_send", watched)
    monkeypatch.setattr(SummarizationTask, "stream", lambda *given: Broken())
    monkeypatch.setattr(FakeEngine, "generate", generate)
    response, events = read(client, "/v1/tasks/summarization", {"document": "short"})
    assert response.status_code == 200
    assert [name for name, _ in events] == ["start", "text", "error"]
    assert events[-1][1]["error"]["code"] == "plugin_failed"


@pytest.mark.parametrize(
    ("path", "body", "counted", "first_texts"),
    [
        ("/v1/tasks/translation", REQUEST, [("translation", "ok", 3)], [("translation", 2)]),
        ("/v1/tasks/sentiment", {"text": "a film"}, [("sentiment", "ok", 2)], []),
        ("/v1/deployments/desk/predict", {**REQUEST, "text": ""}, [("translation", "invalid_text", 2)], []),
        ("/v1/deployments/nothing/predict", REQUEST, [("", "not_found", 1)], []),
    ],
)
def test_the_time_of_a_stream_begins_with_its_request(
    client, monkeypatch, path, body, counted, first_texts
) -> None:
    clock, seen, begun = count(), [], []
    for module in (record, stream):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    ended = lambda self, call: seen.append((call.task, call.code, call.seconds))  # noqa: E731
    monkeypatch.setattr(Metrics, "ended", ended)
    monkeypatch.setattr(Metrics, "first_text", lambda self, *text: begun.append(text))
    read(client, path, body)
    assert (seen, begun) == (counted, first_texts)
