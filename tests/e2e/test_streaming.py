"""Streams of a real server: swapped in the middle, left by their clients, more at once than fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from jsonschema import Draft202012Validator

from hub.api import HeadKind
from hub.store.change import Deploy
from hub.store.store import Store
from tests.e2e.conftest import Hub
from tests.support.homes import add_version
from tests.support.tiny import tiny_adapter, tiny_decoder
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

PREDICT = "/v1/deployments/desk/predict"
DIGEST = "/v1/deployments/digest/predict"
DOCUMENT = {"document": "The council met on Monday. It voted for a bridge. " * 6}
CLIENTS = 60
STREAMS = 4


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A home with two versions that translate, made of noise, the first of them live."""
    folder = tmp_path_factory.mktemp("streaming")
    store = Store(folder / "home")
    base = store.bases.pull(str(tiny_decoder(folder / "tiny", "llama").path), "tiny")
    for seed in (1, 2):
        adapter = tiny_adapter(
            base, folder / str(seed), kind=HeadKind.GENERATE, labels=(), rank=4, seed=seed, spread=0.3
        )
        settings = {"max_new_tokens": 120}
        add_version(
            store,
            base,
            "desk",
            adapter,
            task="translation",
            head=HeadKind.GENERATE,
            labels=(),
            settings=settings,
        )
    store.deploy("desk", Deploy(version="desk@1"))
    add_version(
        store,
        base,
        "writer",
        adapter,
        task="generation",
        head=HeadKind.GENERATE,
        labels=(),
        settings={},
        max_length=256,
    )
    store.deploy("writer", Deploy(version="writer@1"))
    add_version(
        store,
        base,
        "digest",
        adapter,
        task="summarization",
        head=HeadKind.GENERATE,
        labels=(),
        settings={"instruction": "{document}", "max_new_tokens": 120},
        max_length=256,
    )
    store.deploy("digest", Deploy(version="digest@1"))
    store.close()
    return Hub(folder / "home")


@pytest.fixture(scope="module")
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.serving() as client:
        yield client


def connected(client: httpx.Client) -> httpx.Client:
    """Return another client; without `verify=False`, each would read all authorities for 20 ms."""
    return httpx.Client(base_url=client.base_url, timeout=120, verify=False)


def request(number: int = 0) -> dict[str, str]:
    return {"text": f"a film {number}", "source_language": "en", "target_language": "fr"}


def stream(client: httpx.Client, number: int = 0) -> Iterator[tuple[str, Any]]:
    return events(client, PREDICT, request(number))


def events(client: httpx.Client, path: str, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    with connect_sse(client, "POST", path, json=body) as source:
        assert source.response.status_code == 200, source.response.read()
        for event in source.iter_sse():
            yield event.event, event.json()


def begin(client: httpx.Client, number: int, begun: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream, and note its version when it begins."""
    for name, event in stream(client, number):
        if name == "start":
            begun.append(event["version"])
        yield name, event


def whole(client: httpx.Client, number: int = 0) -> str:
    return str(client.post(PREDICT, json=request(number)).raise_for_status().json()["translation"])


def test_texts_arrive_before_the_end_and_make_up_the_answer(client: httpx.Client) -> None:
    (start, about), *texts, (end, result) = list(stream(client))
    assert (start, about["version"], end) == ("start", "desk@1", "end")
    assert len(texts) > 10
    assert result["response"]["translation"] == "".join(piece["text"] for _, piece in texts).strip()
    assert result["response"]["translation"] == whole(client)


FORM = {
    "type": "object",
    "properties": {"like": {"enum": ["é", None]}, "of 5": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["like", "of 5"],
    "additionalProperties": False,
}


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}


def constrained(response_format: dict[str, Any]) -> dict[str, Any]:
    settings = {"temperature": 1.0, "seed": 1, "max_new_tokens": 150}
    return {"prompt": "a film", "response_format": response_format, **settings}


def test_a_constrained_answer_is_streamed_and_valid(client: httpx.Client) -> None:
    asked = constrained(schema_format(FORM))
    path = "/v1/deployments/writer/predict"
    with connect_sse(client, "POST", path, json=asked) as source:
        events = [(event.event, event.json()) for event in source.iter_sse()]
    text = "".join(piece["text"] for name, piece in events if name == "text")
    Draft202012Validator(FORM).validate(json.loads(text))
    assert events[-1][0] == "end" and events[-1][1]["finish_reason"] == "stop"
    whole = client.post(path, json=asked).raise_for_status().json()
    assert (whole["text"], whole["finish_reason"]) == (text, "stop")
    asked = constrained({"type": "choice", "choices": ["good", "goodness", "bad"]})
    assert client.post(path, json=asked).raise_for_status().json()["text"] in ("good", "goodness", "bad")


@pytest.mark.parametrize(
    ("response_format", "code", "message"),
    [
        (schema_format({"type": "strin"}), "bad_sampling", "Invalid type: strin"),
        (schema_format({"$ref": "http://127.0.0.1/"}), "bad_sampling", "does not fetch"),
        ({"type": "choice", "choices": ["a", "a"]}, "bad_request", "twice"),
        ({"type": "choice", "choices": ["a", "\0"]}, "bad_request", "choices.1"),
        ({"type": "choice", "choices": []}, "bad_request", "choices"),
        ({"type": "yaml"}, "bad_request", "response_format"),
    ],
)
def test_an_unusable_response_format_is_refused(
    client: httpx.Client, response_format: dict[str, Any], code: str, message: str
) -> None:
    for headers in ({}, {"accept": "text/event-stream"}):
        answer = client.post(
            "/v1/deployments/writer/predict", json=constrained(response_format), headers=headers
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == code
        assert message in answer.json()["error"]["message"]


def test_a_schema_of_10_000_levels_is_refused(client: httpx.Client) -> None:
    schema = '{"items":' * 10_000 + "{}" + "}" * 10_000
    body = f'{{"prompt":"a","response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}}}'
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/deployments/writer/predict", content=body, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "bad_request"


def test_a_swap_changes_nothing_for_a_stream_that_has_begun(client: httpx.Client, hub: Hub) -> None:
    expected = {version: [] for version in ("desk@1", "desk@2")}
    for version in ("desk@2", "desk@1"):
        hub.run_here("deploy", version)
        expected[version] = [whole(client, number) for number in range(STREAMS)]
    assert expected["desk@1"] != expected["desk@2"]
    ended, begun = threading.Event(), list[str]()

    def ask(number: int) -> list[tuple[str, str]]:
        with connected(client) as own:
            found = []
            while not ended.is_set():
                (_, about), *_, (end, result) = begin(own, number, begun)
                assert end == "end", result
                found.append((about["version"], result["response"]["translation"]))
            return found

    def swap(version: str) -> None:
        begun.clear()
        hub.run_here("deploy", version)
        assert until(lambda: version in begun), "a stream of it has begun before the next swap"

    with ThreadPoolExecutor(STREAMS) as threads:
        asked = [threads.submit(ask, number) for number in range(STREAMS)]
        try:
            for version in ("desk@2", "desk@1", "desk@2", "desk@1"):
                swap(version)
        finally:
            ended.set()
        for number, answers in enumerate(asked):
            found = answers.result(60)
            assert found
            for version, text in found:
                assert text == expected[version][number]
    assert {version for answers in asked for version, _ in answers.result()} == set(expected)


@pytest.mark.parametrize(
    ("path", "body", "task"), [(PREDICT, request(), "translation"), (DIGEST, DOCUMENT, "summarization")]
)
def test_a_client_that_leaves_frees_its_rows(
    client: httpx.Client, path: str, body: dict[str, Any], task: str
) -> None:
    for _ in range(3):
        left = events(client, path, body)
        assert [next(left)[0], next(left)[0]] == ["start", "text"]
        left.close()  # closes the connection

    def counted() -> bool:
        with connected(client) as own:
            metrics = own.get("/metrics").text
        return f'hub_calls_total{{code="cancelled",task="{task}"}}' in metrics

    assert until(counted)
    assert client.post(path, json=body).status_code == 200


def test_the_parts_of_a_document_are_streamed_as_one_summary(client: httpx.Client) -> None:
    (start, about), *texts, (end, result) = list(events(client, DIGEST, DOCUMENT))
    assert (start, about["version"], end) == ("start", "digest@1", "end")
    assert len(texts) > result["response"]["parts"] > 1
    assert result["response"]["summary"] == "".join(piece["text"] for _, piece in texts)
    assert result["response"] == client.post(DIGEST, json=DOCUMENT).json()


def test_more_clients_than_places_wait_and_all_are_answered(client: httpx.Client) -> None:
    expected = [whole(client, number) for number in range(4)]

    def ask(number: int) -> str:
        with connected(client) as own:
            *_, (end, result) = stream(own, number % 4)
        assert end == "end"
        return str(result["response"]["translation"])

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = list(threads.map(ask, range(CLIENTS)))
    assert answers == [expected[number % 4] for number in range(CLIENTS)]
