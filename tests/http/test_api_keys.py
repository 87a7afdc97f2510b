"""Keys of the catalog against a running server: who may do what, at once and after a change."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from hub.console.routes import ConsoleRoute
from hub.errors import BadConfig, NotReady, Unauthorized
from hub.http.auth import Keys, Right, check_exposure
from hub.http.routes.route import InferRoute
from hub.keys import Scopes
from hub.store.catalog.keys import ApiKey, ApiKeys, KeyLimits, KeyTable
from hub.store.change import Deploy
from tests.http.conftest import serve, the_service
from tests.support.homes import FakeHome
from tests.support.waiting import until

FORMS = [("POST", "/v1/files"), ("POST", "/admin/versions")]  # others take JSON
TEXT = {"text": "a warm and funny film"}
CHAT = {"messages": [{"role": "user", "content": "hello"}]}
OPEN = ("/", "/docs", "/assets/", "/console/assets/")  # the same on every server


class Server:
    """A running server with keys in its catalog."""

    def __init__(self, client: TestClient, keys: ApiKeys) -> None:
        self.client = client
        self.keys = keys

    def key(self, *scopes: str, **more: Any) -> tuple[ApiKey, dict[str, str]]:
        """Create a key; return it with the header that its owner sends."""
        key, text = self.keys.create("a test", Scopes.parse(scopes), **more)
        return key, bearer(text)

    def predict(self, headers: dict[str, str], name: str = "mood") -> Any:
        return self.client.post(f"/v1/deployments/{name}/predict", json=TEXT, headers=headers)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_base_folder) -> Iterator[Server]:
    """A server with the deployments mood, mood-2 and taste, whose catalog has keys."""
    home = FakeHome(tmp_path_factory.mktemp("keys"), tiny_base_folder)
    for seed, name in enumerate(("mood", "mood-2", "taste"), start=1):
        home.store.deploy(name, Deploy(version=home.add(name, seed=seed).ref, by="tester"))
    keys = ApiKeys(home.store.catalog)
    keys.create("first", Scopes.parse(["admin"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.serving.accounts.usage_log.WRITE_S", 0.2)
        with serve(home.path) as client:
            yield Server(client, keys)


def our_routes() -> list[Any]:
    (app, _, _) = the_service().mount_apps[-1]
    return list(app.routes)


def url(route: Any) -> str:
    return str(route.path_format.replace("{name}", "taste").replace("{model}", "taste"))


def test_every_route_has_a_right_or_is_a_page_that_all_servers_have(server) -> None:
    others = [route.path for route in our_routes() if not isinstance(route, InferRoute)]
    assert {path for path in others if not path.startswith(OPEN[1:]) and path != OPEN[0]} == set()


@pytest.mark.parametrize("right", list(Right))
def test_every_route_asks_for_its_right(server, right) -> None:
    routes = [
        route
        for route in our_routes()
        if isinstance(route, InferRoute) and route.right is right and not isinstance(route, ConsoleRoute)
    ]
    scopes = {str(one) for one in Right} - {str(right), "admin"}
    _, without = server.key(*sorted(scopes))
    for route in routes:
        for method in route.methods:
            sent: dict[str, Any] = {"json": {}} if method in ("POST", "PUT", "DELETE") else {}
            if (method, route.path_format) in FORMS:
                sent = {"files": {"file": b"x"}}
            ask = server.client.request
            for headers, status in (({}, 401), (bearer("wrong-key-of-a-test"), 401), (without, 403)):
                reply = ask(method, url(route), headers=headers, **sent)
                assert reply.status_code == status, (method, route.path, reply.text)


def test_pages_of_the_console_take_no_key_but_a_session(server) -> None:
    pages = [route for route in our_routes() if isinstance(route, ConsoleRoute)]
    own, (_, key) = [], server.key("admin")
    for route in pages:
        for method in route.methods:
            reply = server.client.request(method, url(route), headers=key, follow_redirects=False)
            if reply.headers.get("location", "").startswith("/console/sign-in"):
                assert reply.status_code == 303
            else:
                own.append((method, route.path_format, reply.status_code))
    # The page to sign in, and forms, which are refused without their media type before anything else.
    assert {path for method, path, _ in own if method == "GET"} == {"/console/sign-in"}
    assert {status for method, _, status in own if method == "POST"} == {415}


CALLS = [  # every family that calls a deployment
    ("/v1/deployments/taste/predict", TEXT),
    ("/v1/tasks/sentiment", TEXT | {"deployment": "taste"}),
    ("/v1/chat/completions", CHAT | {"model": "taste"}),
    ("/v1/completions", {"model": "taste", "prompt": "hello"}),
    ("/hf/taste", {"inputs": "hello"}),
    ("/hf/taste/v1/chat/completions", CHAT | {"model": "dummy"}),
    ("/api/chat", CHAT | {"model": "taste"}),
    ("/api/generate", {"model": "taste", "prompt": "hello"}),
    ("/api/show", {"model": "taste"}),
    ("/v1/embeddings", {"model": "taste", "input": "hello"}),
    ("/v1/deployments/taste/rank", {"query": "hello", "candidates": ["a", "b"]}),
    (
        "/v2/models/taste/infer",
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]},
    ),
    ("/tei/taste/predict", {"inputs": "hello"}),
    ("/predict", {"inputs": "hello", "model": "taste"}),
    ("/embed", {"inputs": "hello", "model": "taste"}),
    ("/v1/deployments/taste@1/predict", TEXT),
    ("/v1/deployments/TASTE/predict", TEXT),
    ("/v1/deployments/taste%20/predict", TEXT),
    ("/v1/deployments/%EF%BD%94aste/predict", TEXT),
]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_deployment_outside_the_pattern_does_not_exist_on_any_family(server, path, body) -> None:
    _, narrow = server.key("infer:mood*")
    reply = server.client.post(path, json=body, headers=narrow)
    assert reply.status_code in (400, 404), reply.text
    hidden = server.client.post(path.replace("taste", "ghost"), json=_ghost(body), headers=narrow)
    assert reply.text.replace("taste", "ghost").replace("TASTE", "GHOST") == hidden.text.replace(
        "TASTE", "GHOST"
    ), "it cannot be told from one that does not exist"


def _ghost(body: dict[str, Any]) -> dict[str, Any]:
    return {name: "ghost" if value == "taste" else value for name, value in body.items()}


def test_lists_have_what_the_key_may_call(server) -> None:
    _, narrow = server.key("infer:mood*")

    def get(path: str) -> Any:
        return server.client.get(path, headers=narrow).json()

    assert [one["name"] for one in get("/v1/deployments")["deployments"]] == ["mood", "mood-2"]
    assert {name for task in get("/v1/tasks")["tasks"] for name in task["deployments"]} == {"mood", "mood-2"}
    assert "taste" not in {one["id"] for one in get("/v1/models")["data"]}
    assert server.client.get("/v1/models/taste", headers=narrow).status_code == 404
    assert "taste" not in server.client.get("/api/tags", headers=narrow).text
    assert server.client.get("/hf/taste/info", headers=narrow).status_code == 404
    assert server.client.get("/metrics", headers=narrow).status_code == 403


def test_the_pattern_lets_through_what_it_matches(server) -> None:
    _, narrow = server.key("infer:mood*")
    for name in ("mood", "mood-2", "mood@1"):
        assert server.predict(narrow, name).status_code == 200


def test_of_several_deployments_only_those_of_the_pattern_answer(server) -> None:
    _, narrow = server.key("infer:mood*")
    body = {"deployments": ["mood", "taste", "taste@1", "mood-2", "tiny"], "inputs": TEXT}
    answers = server.client.post("/v1/predict", json=body, headers=narrow).json()["answers"]
    assert ["result" in one for one in answers] == [True, False, False, True, False]
    for one in (answers[1], answers[2], answers[4]):
        assert one["error"]["code"] == "not_found"
        assert one["error"]["message"].endswith(
            "Available: mood, mood-2. Make one with `hub deploy NAME@N --as DEPLOYMENT`."
        )


def test_a_task_with_one_visible_deployment_is_not_ambiguous(server) -> None:
    _, narrow = server.key("infer:mood-*")
    reply = server.client.post("/v1/tasks/sentiment", json=TEXT, headers=narrow)
    assert reply.headers["x-hub-deployment"] == "mood-2"


def test_a_key_deploys_only_under_the_names_of_its_pattern(server) -> None:
    _, deployer = server.key("deploy:taste")
    one, other = "/admin/deployments/taste", "/admin/deployments/mood"
    put = {"json": {"version": "taste@1"}, "headers": deployer}
    assert server.client.put(one, **put).status_code == 200
    for method, path, more in (
        ("PUT", other, {"json": {"version": "mood@1"}}),
        ("POST", f"{other}/promote", {}),
        ("POST", f"{other}/rollback", {}),
        ("DELETE", other, {}),
        ("GET", other, {}),
        ("GET", "/admin/status", {}),
        ("GET", "/v1/deployments", {}),
    ):
        reply = server.client.request(method, path, headers=deployer, **more)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden"), (method, path)
    shown = server.client.get("/admin/deployments", headers=deployer).json()["deployments"]
    assert [deployment["name"] for deployment in shown] == ["taste"]
    assert server.client.get("/admin/replicas", headers=deployer).status_code == 200


def test_a_new_key_works_at_once_and_a_revoked_one_stops(server) -> None:
    key, headers = server.key("infer")
    assert server.predict(headers).status_code == 200
    server.keys.revoke(key.id)
    assert until(lambda: server.predict(headers).status_code == 401, 10)
    assert "revoked" in server.predict(headers).json()["error"]["message"]


def test_an_expired_key_is_refused(server) -> None:
    _, headers = server.key("infer", expires=timedelta(microseconds=1))
    reply = server.predict(headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")
    assert "expired" in reply.json()["error"]["message"]


def test_a_rotated_key_works_at_once_beside_the_previous_one(server) -> None:
    key, first = server.key("infer")
    _, text = server.keys.rotate(key.id, timedelta(hours=1))
    assert server.predict(bearer(text)).status_code == 200
    assert server.predict(first).status_code == 200
    _, text = server.keys.rotate(key.id, timedelta())
    assert server.predict(bearer(text)).status_code == 200
    assert server.predict(first).status_code == 401


def test_the_id_of_a_key_is_no_key(server) -> None:
    key, headers = server.key("infer")
    text = headers["authorization"]
    for tried in (f"Bearer hub_{key.id}_", f"Bearer hub_{key.id}_{'x' * 43}", text[:-1], text + "x"):
        assert server.predict({"authorization": tried}).status_code == 401


def test_a_limit_is_answered_with_429_and_when_to_come_again(server) -> None:
    _, headers = server.key("infer", limits=KeyLimits(requests_per_minute=2))
    assert [server.predict(headers).status_code for _ in range(3)] == [200, 200, 429]
    reply = server.predict(headers)
    assert reply.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(reply.headers["retry-after"]) <= 31
    openai = server.client.post("/v1/completions", json={"model": "mood", "prompt": "x"}, headers=headers)
    assert (openai.status_code, openai.json()["error"]["code"]) == (429, "rate_limited")


def test_usage_reaches_the_catalog_and_the_metrics(server) -> None:
    key, headers = server.key("infer", limits=KeyLimits(requests_per_minute=3))
    server.predict(headers)
    server.predict(headers, "ghost")
    server.client.post("/v1/deployments/mood/predict", json={"items": [TEXT] * 3}, headers=headers)
    server.predict(headers)

    def counted() -> Any:
        return next((one for (caller, _), one in server.keys.usage().items() if caller == key.id), None)

    assert until(lambda: (found := counted()) is not None and found.refused == 1, 20)
    found = counted()
    assert (found.requests, found.errors, found.rows, found.tokens_out) == (3, 1, 4, 0)
    assert found.tokens_in >= 4
    _, operator = server.key("infer")
    line = f'hub_key_usage_total{{key="{key.id}",kind="rows"}} 4.0'
    assert until(lambda: line in server.client.get("/metrics", headers=operator).text, 10)


def test_no_key_is_in_a_log(server, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    key, headers = server.key("infer")
    text = headers["authorization"].removeprefix("Bearer ")
    server.predict(headers)
    server.keys.revoke(key.id)
    assert until(lambda: server.predict(headers).status_code == 401, 10)
    server.predict(bearer("an-unknown-key-of-a-test"))
    for record in caplog.records:
        assert text not in record.getMessage()
        assert "an-unknown-key" not in record.getMessage()


def test_feedback_on_an_answer_of_another_deployment_is_not_taken(
    home, serving, monkeypatch, live_in, admin
) -> None:
    monkeypatch.setenv("HUB_FEEDBACK__KEEP", "answers")
    keys = ApiKeys(home.store.catalog)
    _, wide = keys.create("wide", Scopes.parse(["infer"]))
    _, narrow = keys.create("narrow", Scopes.parse(["infer:other*"]))
    with serving() as client:
        live_in(client, "mood", 1)
        number = client.post("/v1/deployments/mood/predict", json=TEXT, headers=bearer(wide)).headers[
            "x-hub-request-id"
        ]
        body = {"request_id": number, "label": "negative"}
        refused = client.post("/v1/feedback", json=body, headers=bearer(narrow))
        unknown = client.post("/v1/feedback", json=body | {"request_id": "ghost"}, headers=bearer(narrow))
        assert refused.status_code == unknown.status_code == 404
        assert refused.text.replace(number, "ghost") == unknown.text
        assert client.post("/v1/feedback", json=body, headers=bearer(wide)).status_code == 200


def callers(table: KeyTable | None) -> Any:
    return SimpleNamespace(table=table)


def table_of(*keys: ApiKey) -> KeyTable:
    return KeyTable(1, {key.id: key for key in keys})


@pytest.fixture
def catalog_keys(home) -> ApiKeys:
    return ApiKeys(home.store.catalog)


ADMIN = "the-admin-key-of-a-test"


def test_any_key_of_the_catalog_closes_inference_even_a_revoked_one(catalog_keys) -> None:
    assert Keys(ADMIN, (), callers(table_of())).check(None, Right.INFER).id == "anonymous"
    key, _ = catalog_keys.create("a test", Scopes.parse(["infer"]))
    revoked = catalog_keys.revoke(key.id)
    with pytest.raises(Unauthorized):
        Keys(ADMIN, (), callers(table_of(revoked))).check(None, Right.INFER)


def test_a_server_beyond_loopback_is_never_open(catalog_keys) -> None:
    with pytest.raises(Unauthorized):
        Keys(ADMIN, (), callers(table_of()), exposed=True).check(None, Right.INFER)


def test_nobody_is_let_in_before_the_keys_are_known() -> None:
    keys = Keys(ADMIN, (), callers(None))
    for sent in (None, "Bearer hub_0123456789ab_secret", "Bearer another-key-of-a-test"):
        with pytest.raises(NotReady):
            keys.check(sent, Right.INFER)
    assert keys.check(f"Bearer {ADMIN}", Right.ADMIN).id == "admin"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("rotated", [True, False])
def test_the_number_of_comparisons_tells_nothing(monkeypatch, catalog_keys, known, rotated) -> None:
    key, text = catalog_keys.create("a test", Scopes.parse(["infer"]))
    if rotated:
        key, _ = catalog_keys.rotate(key.id, timedelta(hours=1))
    compared: list[tuple[int, int]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("hub.http.auth.hmac.compare_digest", counted)
    keys = Keys(ADMIN, ["a-key-of-the-settings"], callers(table_of(key)))
    sent = text if known else "hub_0123456789ab_" + "x" * 43
    try:
        keys.check(f"Bearer {sent}", Right.INFER)
    except Unauthorized:
        assert not known
    assert compared == [(32, 32)] * 4


def test_keys_of_the_catalog_allow_a_server_beyond_loopback(home, catalog_keys) -> None:
    from hub.config import load_settings

    with pytest.raises(BadConfig, match="hub keys create"):
        check_exposure("0.0.0.0", load_settings())
    catalog_keys.create("a test", Scopes.parse(["infer"]))
    check_exposure("0.0.0.0", load_settings())
