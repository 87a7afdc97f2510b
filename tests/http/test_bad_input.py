"""Invalid input gets one JSON error object with the right status, and the server stays up."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

JSON = {"content-type": "application/json"}
PATHS = ("/v1/deployments/mood/predict", "/v1/tasks/sentiment")


@pytest.fixture
def asked(shared):
    return shared


def error_of(reply) -> dict[str, str]:
    body = reply.json()
    assert list(body) == ["error"]
    assert {"code", "message"} <= set(body["error"])
    assert reply.headers["content-type"] == "application/json"
    assert "x-hub-request-id" in reply.headers
    return body["error"]


NATIVE = {"code", "message"}
OPENAI = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "keys", "inner"),
    [
        ("/v1/deployments/mood/predict", {"error"}, NATIVE),
        ("/v1/chat/completions", {"error"}, OPENAI),
        ("/v1/load_lora_adapter", {"error"}, OPENAI),
        ("/hf/mood", {"error", "error_type"}, None),
        ("/v2/models/mood/infer", {"error", "code"}, None),
        ("/api/chat", {"error", "code"}, None),
        ("/embed", {"error", "error_type", "code"}, None),
        ("/tei/mood/predict", {"error", "error_type", "code"}, None),
        ("/v2/nothing", {"error", "code"}, None),
        ("/api/pull", {"error", "code"}, None),
        ("/hf/mood/nothing", {"error", "error_type"}, None),
        ("/hf/mood/v1/nothing", {"error"}, OPENAI),
        ("/v1/audio/speech", {"error"}, OPENAI),
        ("/v1/fine_tuning/nothing", {"error"}, OPENAI),
        ("/v1/tasks/sentiment/nothing", {"error"}, NATIVE),
        ("/v1/deployments/mood/nothing", {"error"}, NATIVE),
        ("/tei/mood/nothing", {"error", "error_type", "code"}, None),
        ("/admin/nothing", {"error"}, NATIVE),
        ("/nothing", {"error"}, NATIVE),
    ],
)
def test_a_request_that_no_route_takes_is_refused_in_the_shape_of_its_family(
    asked, path, keys, inner
) -> None:
    zipped = asked.post(path, content=b"{}", headers=JSON | {"content-encoding": "gzip"})
    foreign = asked.post(path, json={}, headers={"origin": "http://evil.example"})
    for reply in (zipped, foreign, asked.delete(path)):
        assert reply.status_code in (403, 404, 405, 415)
        body = reply.json()
        assert body.keys() == keys
        if inner:
            assert body["error"].keys() == inner
        else:
            assert isinstance(body["error"], str)
    assert foreign.status_code == 403
    assert asked.delete(path).status_code in (404, 405)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/api/chat", "/api/chat"),
        ("/models/mood/infer", "/v2/models/{name}/infer"),
        ("/mood/embed", "/tei/{name}/embed"),
        ("/v1/hf/mood", "/hf/{name}"),
        ("/v1/models/", "/v1/models"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/embedding", "/v1/embeddings"),
    ],
)
def test_a_path_that_is_nearly_one_of_ours_is_answered_with_that(asked, path, meant) -> None:
    reply = asked.post(path, json={})
    assert reply.status_code == 404
    assert f"Did you mean {meant}?" in reply.text


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/a/b/c", "/hf/", "/v1/v1", "/v1//"])
def test_a_path_that_resembles_no_other_is_refused_without_a_guess(asked, path) -> None:
    reply = asked.get(path)
    assert reply.status_code == 404
    assert "Did you mean" not in reply.text
    assert "The page at / lists all paths" in reply.text


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("/v1/tasks/none", "Below /v1/tasks there are: classification, "),
        ("/api/pull", "Below /api there are: chat, "),
    ],
)
def test_an_unknown_path_is_answered_with_those_beside_it(asked, path, beside) -> None:
    assert beside in asked.post(path, json={}).text


def test_a_wrong_item_is_not_called_a_missing_one_too(asked) -> None:
    body = {"model": "mood", "messages": [{"role": "bot", "content": "x"}]}
    error = asked.post("/v1/chat/completions", json=body).json()["error"]
    assert error["param"] == "messages.0.role"
    assert error["message"].endswith("role: Input should be 'system', 'developer', 'user' or 'assistant'.")
    tools = {"model": "mood", "messages": [], "tools": [{}]}
    assert asked.post("/api/chat", json=tools).json()["error"] == "tools: Should be empty."


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"not json", 400, "bad_request"),
        (b"[" * 50_000, 400, "bad_request"),
        (b"{}", 400, "bad_request"),
        (b'{"text": 7}', 400, "bad_request"),
        (b'{"text": "a", "extra": 1}', 400, "bad_request"),
        (b'{"text": ""}', 400, "invalid_text"),
        (b'{"text": "   "}', 400, "invalid_text"),
        (b'{"text": "caf\xe9"}', 400, "invalid_text"),
        (b'{"text": "\\ud83d"}', 400, "invalid_text"),
        (b'{"text": "' + b"word " * 50_000 + b'"}', 413, "too_large"),
        (b'{"text": "' + b"a" * 2_100_000 + b'"}', 413, "too_large"),
    ],
)
def test_bodies_that_cannot_be_used(asked, path, body, status, code) -> None:
    reply = asked.post(path, content=body, headers=JSON)
    assert (reply.status_code, error_of(reply)["code"]) == (status, code)
    assert asked.post(path, json={"text": "still here"}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_huge_body_of_unannounced_length_is_cut_off(asked, path) -> None:
    sent = 0

    def parts():
        nonlocal sent
        yield b'{"text": "'
        for _ in range(100):
            sent += 1
            yield b"a" * 100_000

    reply = asked.post(path, content=parts(), headers=JSON)
    assert (reply.status_code, error_of(reply)["code"]) == (413, "too_large")
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_other_media_types_are_refused(asked, declared) -> None:
    reply = asked.post(PATHS[0], content=b'{"text": "a"}', headers={"content-type": declared})
    assert (reply.status_code, error_of(reply)["code"]) == (415, "bad_media_type")


@pytest.mark.parametrize(
    "declared", ["application/json; charset=UTF-8", "application/vnd.api+json", "APPLICATION/JSON"]
)
def test_json_by_other_names_is_taken(asked, declared) -> None:
    reply = asked.post(PATHS[0], content=b'{"text": "a"}', headers={"content-type": declared})
    assert reply.status_code == 200


def test_a_validation_error_names_the_field_and_not_the_value(asked) -> None:
    reply = asked.post("/v1/tasks/qa", json={"question": "who?", "context": {"my": "secret"}})
    error = error_of(reply)
    assert error["field"] == "context"
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/v1/tasks/unknown-task", 404, "not_found"),
        ("POST", "/v1/deployments/mood", 404, "not_found"),
        ("POST", "/v1/deployments/mood/predict/", 404, "not_found"),
        ("POST", "/v1/deployments/../nothing", 404, "not_found"),
        ("POST", "/v1/deployments/%2e%2e%2fetc/predict", 404, "not_found"),
        ("GET", "/v1/deployments/mood/predict", 405, "method_not_allowed"),
        ("PATCH", "/admin/deployments/mood", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
    ],
)
def test_paths_and_methods_that_nothing_answers(asked, method, path, status, code) -> None:
    reply = asked.request(method, path)
    assert (reply.status_code, error_of(reply)["code"]) == (status, code)


def test_no_text_of_a_caller_reaches_the_log(asked, caplog) -> None:
    secret = "the words of a customer"
    for body in ({"text": secret}, {"text": secret, "more": secret}, {secret: 1}, {"text": [secret]}):
        asked.post(PATHS[0], json=body)
        asked.post(PATHS[0], json={"items": [body]})
    asked.post(PATHS[0], content=json.dumps(secret).encode() + b"{", headers=JSON)
    assert secret not in caplog.text


def test_an_unexpected_fault_is_one_error_object_too(asked, monkeypatch, caplog) -> None:
    def fail(*given):
        raise RuntimeError("secret words")

    monkeypatch.setattr("hub.http.calls._headers", fail)
    reply = asked.post(PATHS[0], json={"text": "a"})
    assert (reply.status_code, error_of(reply)["code"]) == (500, "internal")
    assert "secret words" not in reply.text + caplog.text
    assert "calls.py" in caplog.text, "the log says where"


def test_metrics_labels_are_never_what_a_caller_sent(asked: TestClient) -> None:
    for number in range(5):
        asked.post(f"/v1/deployments/made-up-{number}/predict", json={"text": "a"})
        asked.get(f"/static_content/made-up-{number}")
        asked.get(f"/made-up-{number}")
    asked.post(PATHS[0], json={"text": "a"})
    metrics = asked.get("/metrics").text
    assert "made-up" not in metrics
    assert 'endpoint="/v1/deployments/{name}/predict",http_response_code="404"' in metrics
    assert 'hub_calls_total{code="ok",task="sentiment"}' in metrics
    assert 'hub_batch_rows_count{base="tiny"}' in metrics
    assert 'hub_slots{base="tiny"' in metrics
