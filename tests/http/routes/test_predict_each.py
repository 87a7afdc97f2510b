"""The route that asks several deployments at once."""

from __future__ import annotations

import pytest

from hub.api import HeadKind
from hub.http.metrics.metrics import Metrics
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

PATH = "/v1/predict"
TEXT = {"text": "a warm and funny film"}
INPUTS = {**TEXT, "question": "Who saw it?", "context": "Ann saw the film on Monday."}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    home = FakeHome(tmp_path_factory.mktemp("each"), tiny_base_folder)
    for seed, (name, made) in enumerate(
        {
            "mood": {},
            "topic": {"task": "classification", "labels": ("film", "sport", "travel")},
            "reader": {"task": "qa", "kind": HeadKind.SPAN, "labels": ()},
        }.items()
    ):
        home.store.deploy(name, Deploy(version=home.add(name, seed=seed, **made).ref))
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=9).ref, canary=0.0))
    with serve(home.path) as client:
        yield client


def ask(client, names, inputs=INPUTS, **more):
    return client.post(PATH, json={"deployments": list(names), "inputs": inputs}, **more)


def alone(client, name, fields):
    """What a deployment's own route answers to its fields, with the version that did."""
    reply = client.post(f"/v1/deployments/{name}/predict", json=fields)
    assert reply.status_code == 200, reply.text
    return {
        **{key: reply.headers[f"x-hub-{key}"] for key in ("deployment", "version", "sha256", "track")},
        "result": reply.json(),
    }


def test_each_answers_as_its_own_route_does(client) -> None:
    reply = ask(client, ["reader", "mood", "topic", "mood@2"])
    assert reply.status_code == 200
    asked = {key: INPUTS[key] for key in ("question", "context")}
    assert reply.json()["answers"] == [
        alone(client, "reader", asked),
        alone(client, "mood", TEXT),
        alone(client, "topic", TEXT),
        alone(client, "mood@2", TEXT),
    ]
    assert [one["track"] for one in reply.json()["answers"]] == ["stable", "stable", "stable", "pinned"]


def test_a_failure_is_in_its_place(client) -> None:
    answers = ask(client, ["nope", "mood", "mood@7", "reader", "Bad name@x"], TEXT).json()["answers"]
    assert [one.get("error", {}).get("code") for one in answers] == [
        "not_found",
        None,
        "version_unavailable",
        "bad_request",
        "invalid_name",
    ]
    assert answers[1] == alone(client, "mood", TEXT)
    assert answers[0]["deployment"] == "nope" and "version" not in answers[0]
    assert answers[3]["version"] == "reader@1"
    assert answers[3]["error"]["field"].startswith("inputs.")


@pytest.mark.parametrize("text", ["", "\u200b", "word " * 50_000])
def test_a_text_that_a_task_refuses_is_an_error_of_each(client, text) -> None:
    answers = ask(client, ["mood", "topic"], {"text": text}).json()["answers"]
    assert {one["error"]["code"] for one in answers} <= {"invalid_text", "too_large"}


def test_a_field_that_no_task_has_is_refused(client) -> None:
    reply = ask(client, ["mood", "topic"], {"text": "fine", "texxt": "typo"})
    assert reply.status_code == 400
    assert reply.json()["error"]["field"] == "inputs.texxt"
    assert "text, text_pair" in reply.json()["error"]["message"]


def test_a_stream_is_refused(client) -> None:
    reply = ask(client, ["mood"], headers={"accept": "text/event-stream"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")
    assert "stream" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"deployments": [], "inputs": TEXT},
        {"deployments": ["mood"] * 33, "inputs": TEXT},
        {"deployments": "mood", "inputs": TEXT},
        {"deployments": ["mood"], "inputs": "a text"},
        {"deployments": ["mood"]},
        {"deployments": ["mood"], "inputs": TEXT, "more": 1},
    ],
)
def test_a_wrong_body_is_refused(client, body) -> None:
    assert client.post(PATH, json=body).status_code == 400


def test_every_answer_is_counted_for_its_task(client, monkeypatch) -> None:
    counted = []
    monkeypatch.setattr(Metrics, "ended", lambda self, call: counted.append((call.task, call.code)))
    ask(client, ["mood", "reader", "topic", "nope"], TEXT)
    assert counted == [("sentiment", "ok"), ("qa", "bad_request"), ("classification", "ok")]
