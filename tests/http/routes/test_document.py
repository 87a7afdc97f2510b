"""The OpenAPI document: keys where they are needed, one error schema, names as they are checked."""

from __future__ import annotations

import re
import unicodedata

import pytest

from hub.api.models import _INVISIBLE, VISIBLE
from hub.errors import HubError
from hub.names import NAME_PATTERN, VERSION_PATTERN, check_name, parse_version_ref

CLOSED = (
    "/admin/",
    "/v1/files",
    "/v1/fine_tuning/",
    "/v1/load_lora",
    "/v1/unload_lora",
)  # to all but key holders
OPEN = (("/livez", "get"), ("/readyz", "get"), ("/", "get"))  # the same for everyone, and without errors
API_KEY = "an-api-key-of-a-test"


def operations(page):
    return {(path, method): one for path, by in page["paths"].items() for method, one in by.items()}


def test_the_document_asks_for_a_key_where_the_server_does(monkeypatch, serving, admin) -> None:
    with serving() as client:
        without = operations(client.get("/openapi.json").json())
    monkeypatch.setenv("HUB_SERVE__API_KEYS", f'["{API_KEY}"]')
    with serving() as client:
        with_keys = operations(client.get("/openapi.json", headers=admin).json())
    assert without.keys() == with_keys.keys()
    for (path, method), operation in without.items():
        if (path, method) in OPEN:
            assert "security" not in operation | with_keys[path, method]
            continue
        optional = {} in operation["security"]  # a key may be created while the server runs
        assert optional is not path.startswith(CLOSED), (path, method)
        assert with_keys[path, method]["security"] == [{"HTTPBearer": []}], (path, method)


FAMILIES = {  # their clients read errors of another shape
    "/api/": "OllamaError",
    "/v1/chat/": "OpenAIErrorBody",
    "/v1/embeddings": "OpenAIErrorBody",
    "/v1/completions": "OpenAIErrorBody",
    "/v1/models": "OpenAIErrorBody",
    "/v1/files": "OpenAIErrorBody",
    "/v1/fine_tuning/": "OpenAIErrorBody",
    "/hf/{name}/v1/": "OpenAIErrorBody",
    "/hf/": "PipelineError",
    "/v1/load_lora_adapter": "OpenAIErrorBody",
    "/v1/unload_lora_adapter": "OpenAIErrorBody",
    "/v2": "InferError",
    **dict.fromkeys(("/tei/", "/embed", "/predict", "/rerank", "/similarity"), "TeiError"),
    **dict.fromkeys(("/tokenize", "/decode", "/invocations", "/info", "/health"), "TeiError"),
}


def test_every_operation_declares_the_one_error_of_its_family(shared) -> None:
    for (path, method), operation in operations(shared.get("/openapi.json").json()).items():
        if (path, method) not in OPEN:
            for kind in ("4XX", "5XX"):
                content = operation["responses"][kind]["content"]
                schema = content["application/json"]["schema"]
                found = (FAMILIES[start] for start in FAMILIES if path.startswith(start))
                name = "TeiError" if path == "/" else next(found, "ErrorBody")
                assert schema == {"$ref": f"#/components/schemas/{name}"}, (path, method)
        assert "422" not in operation["responses"], (path, method)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/v1/tasks", "GET"),
        ("GET", "/v1/tasks/sentiment", "POST"),
        ("POST", "/admin/deployments/mood", "DELETE, GET, PUT"),
        ("TRACE", "/v1/deployments/mood/predict", "POST"),
        ("DELETE", "/", "GET, HEAD, POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET"),
    ],
)
def test_a_method_that_is_not_declared_is_answered_with_those_that_are(shared, method, path, allow) -> None:
    reply = shared.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)


def test_visible_characters_are_those_of_no_invisible_category() -> None:
    pattern = re.compile(VISIBLE)
    for code in range(0x10000):
        character = chr(code)
        visible = unicodedata.category(character) not in _INVISIBLE
        assert bool(pattern.fullmatch(character)) is visible, hex(code)


@pytest.mark.parametrize(
    "text",
    ["a", "a-b.c_d", "a..b", "A", "", "-a", "a" * 63, "a" * 64, "a@1", "a@0", "a@1000000000", "a@", "é"],
)
def test_the_patterns_of_names_are_the_checks(text) -> None:
    for pattern, check in (
        (NAME_PATTERN, lambda name: check_name(name, "")),
        (VERSION_PATTERN, parse_version_ref),
    ):
        try:
            check(text)
        except HubError:
            assert re.search(pattern, text) is None
        else:
            assert re.search(pattern, text)


def test_every_route_that_chooses_a_version_takes_the_key_that_pins_it(shared) -> None:
    chosen = {
        path
        for (path, method), operation in operations(shared.get("/openapi.json").json()).items()
        if any(parameter["name"] == "x-hub-key" for parameter in operation.get("parameters", ()))
    }
    assert {
        "/v1/tasks/sentiment",
        "/v1/deployments/{name}/predict",
        "/v1/chat/completions",
        "/v1/completions",
        "/hf/{name}",
        "/hf/{name}/v1/chat/completions",
    } <= chosen
