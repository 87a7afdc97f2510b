"""The native routes of tasks and deployments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.config import load_settings
from hub.http.app import build_app
from hub.http.routes import native

TEXT = {"text": "a warm and funny film"}


def test_a_deployment_answers_and_names_the_version_that_did(client, live) -> None:
    version = live("mood", seed=1)
    reply = client.post("/v1/deployments/mood/predict", json=TEXT)
    assert reply.status_code == 200
    assert set(reply.json()) == {"label", "score", "polarity", "scores"}
    assert reply.headers["x-hub-deployment"] == "mood"
    assert reply.headers["x-hub-version"] == "mood@1"
    assert reply.headers["x-hub-sha256"] == version.sha256
    assert "engine;dur=" in reply.headers["server-timing"]


def test_a_task_is_answered_by_its_only_deployment(client, live) -> None:
    live("mood", seed=1)
    reply = client.post("/v1/tasks/sentiment", json=TEXT)
    assert reply.status_code == 200
    assert reply.headers["x-hub-deployment"] == "mood"
    assert reply.json() == client.post("/v1/deployments/mood/predict", json=TEXT).json()


def test_a_task_with_several_deployments_asks_which(client, live) -> None:
    live("mood", seed=1), live("taste", seed=2)
    reply = client.post("/v1/tasks/sentiment", json=TEXT)
    assert reply.status_code == 409
    assert reply.json()["error"]["code"] == "ambiguous_deployment"
    assert "mood, taste" in reply.json()["error"]["message"]
    named = client.post("/v1/tasks/sentiment", json={**TEXT, "deployment": "taste"})
    assert named.headers["x-hub-version"] == "taste@1"


def test_a_task_refuses_a_deployment_of_another_task(client, live) -> None:
    live("mood", seed=1)
    asked = {"question": "Who?", "context": "She did.", "deployment": "mood"}
    assert client.post("/v1/tasks/qa", json=asked).json()["error"]["code"] == "conflict"


def test_a_task_without_a_deployment_names_the_command(client) -> None:
    reply = client.post("/v1/tasks/sentiment", json=TEXT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert "hub deploy" in reply.json()["error"]["message"]


def test_an_unknown_deployment_lists_those_there_are(client, live) -> None:
    live("mood", seed=1)
    error = client.post("/v1/deployments/moody/predict", json=TEXT).json()["error"]
    assert error["code"] == "not_found"
    assert "mood" in error["message"]


def test_items_are_answered_in_order_and_fail_alone(client, live) -> None:
    live("mood", seed=1)
    texts = ["one film", "", "two films", "three films"]
    items = client.post(
        "/v1/deployments/mood/predict", json={"items": [{"text": text} for text in texts]}
    ).json()["items"]
    assert [set(item) for item in items] == [{"result"}, {"error"}, {"result"}, {"result"}]
    assert items[1]["error"]["code"] == "invalid_text"
    assert items[1]["error"]["field"] == "items.1.text"
    for text, item in zip(texts, items, strict=True):
        if text:
            alone = client.post("/v1/deployments/mood/predict", json={"text": text}).json()
            assert item["result"] == alone


def test_a_request_that_failed_names_the_version_that_it_failed_on(client, live, monkeypatch) -> None:
    version = live("mood", seed=1)
    monkeypatch.setattr(SentimentTask, "decode", lambda *given: 1 / 0)
    reply = client.post("/v1/deployments/mood/predict", json=TEXT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "plugin_failed")
    assert reply.headers["x-hub-version"] == "mood@1"
    assert reply.headers["x-hub-sha256"] == version.sha256
    assert reply.headers["x-hub-track"] == "stable"


def test_too_many_items_are_refused(client, live) -> None:
    live("mood", seed=1)
    reply = client.post("/v1/deployments/mood/predict", json={"items": [TEXT] * 257})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_tasks_are_listed_with_their_schemas_and_deployments(client, live) -> None:
    live("mood", seed=1)
    tasks = {task["name"]: task for task in client.get("/v1/tasks").json()["tasks"]}
    assert set(tasks) >= {
        "classification",
        "sentiment",
        "translation",
        "qa",
        "extraction",
        "generation",
        "similarity",
        "summarization",
    }
    assert tasks["sentiment"]["deployments"] == ["mood"]
    assert tasks["qa"]["request"]["required"] == ["question", "context"]


def test_deployments_are_listed_with_what_is_live(client, live) -> None:
    version = live("mood", seed=1)
    (deployment,) = client.get("/v1/deployments").json()["deployments"]
    assert deployment["name"] == "mood"
    assert deployment["version"] == "mood@1"
    assert deployment["sha256"] == version.sha256
    assert deployment["labels"] == ["negative", "positive"]


def test_a_request_id_is_kept_or_made(client) -> None:
    sent = client.get("/v1/tasks", headers={"x-hub-request-id": "abc-1"})
    assert sent.headers["x-hub-request-id"] == "abc-1"
    made = client.get("/v1/tasks", headers={"x-hub-request-id": "not one\there"})
    assert made.headers["x-hub-request-id"] != "not one\there"


def test_a_key_is_always_answered_by_the_same_version(client, live, add, admin) -> None:
    live("mood", seed=1), add("mood", seed=2)
    client.put("/admin/deployments/mood", json={"version": "mood@2", "canary": 50}, headers=admin)

    def tracks() -> list[str]:
        return [
            client.post(path, json=TEXT, headers={"x-hub-key": f"user-{number}"}).headers["x-hub-track"]
            for number in range(20)
            for path in ("/v1/deployments/mood/predict", "/v1/tasks/sentiment")
        ]

    first = tracks()
    assert set(first) == {"stable", "canary"}
    assert first[::2] == first[1::2] and first == tracks()


def test_a_key_has_a_longest_length(client, live) -> None:
    live("mood", seed=1)
    asked = {"json": TEXT, "headers": {"x-hub-key": "k" * 256}}
    assert client.post("/v1/deployments/mood/predict", **asked).status_code == 200
    reply = client.post("/v1/deployments/mood/predict", json=TEXT, headers={"x-hub-key": "k" * 257})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs.json"])
def test_the_openapi_page_types_every_task_with_examples(client, path) -> None:
    page = client.get(path).json()
    tasks = [task["name"] for task in client.get("/v1/tasks").json()["tasks"]]
    for task in tasks:
        operation = page["paths"][f"/v1/tasks/{task}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        request = page["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        assert request["examples"], task
        assert "deployment" in request["properties"]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert page["components"]["schemas"][answer["$ref"].rpartition("/")[2]]["examples"], task
        assert "x-hub-version" in operation["responses"]["200"]["headers"]
    assert "/v1/deployments/{name}/predict" in page["paths"]
    assert "put" in page["paths"]["/admin/deployments/{name}"]


def test_the_model_of_a_call_is_made_once_for_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = native.create_model

    def noted(name: str, **fields: Any) -> Any:
        made.append(name)
        return make(name, **fields)

    monkeypatch.setenv("HUB_HOME", str(tmp_path))
    monkeypatch.setattr(native, "create_model", noted)
    build_app(load_settings())
    calls = [name for name in made if name.endswith("Call")]
    assert "SentimentCall" in calls and sorted(calls) == sorted(set(calls))
