"""Administration over HTTP."""

from __future__ import annotations

import pytest

from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXT = {"text": "a warm and funny film"}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory, tiny_base_folder):
    """A server for what is refused: mood@1 is live, mood@2 and an adapter of another task are stored."""
    home = FakeHome(tmp_path_factory.mktemp("refusing"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    home.add("mood", seed=2)
    home.add("topics", seed=2, task="classification")
    with serve(home.path) as client:
        yield client


def listed(client):
    return client.get("/v1/deployments").json()["deployments"]


def test_a_version_is_put_live_and_rolled_back(add, client, admin) -> None:
    add(seed=1), add(seed=2)
    put = client.put("/admin/deployments/mood", json={"version": "mood@1"}, headers=admin)
    assert put.status_code == 200
    assert put.json()["swap_ms"] >= 0
    client.put("/admin/deployments/mood", json={"version": "mood", "reason": "newest"}, headers=admin)
    assert client.post("/v1/deployments/mood/predict", json=TEXT).headers["x-hub-version"] == "mood@2"
    back = client.post("/admin/deployments/mood/rollback", headers=admin).json()
    assert (back["version"], back["previous"], back["generation"]) == ("mood@1", "mood@2", 3)
    assert client.post("/v1/deployments/mood/predict", json=TEXT).headers["x-hub-version"] == "mood@1"


def test_a_deployment_is_shown_with_its_history(add, client, admin) -> None:
    add(seed=1), add(seed=2)
    body = {"version": "mood@1", "reason": "first try", "by": "ann@desk"}
    client.put("/admin/deployments/mood", json=body, headers=admin)
    client.put("/admin/deployments/mood", json={"version": "mood@2"}, headers=admin)
    shown = client.get("/admin/deployments/mood", headers=admin).json()
    assert (shown["version"], shown["previous"]) == ("mood@2", "mood@1")
    assert [(move["who"], move["after"], move["reason"]) for move in shown["history"]] == [
        ("ann@desk", "mood@1", "first try"),
        ("admin", "mood@2", ""),
    ]


def test_deployments_are_listed_and_taken_away(client, live, admin) -> None:
    live("mood", seed=1), live("taste", seed=2)
    shown = client.get("/admin/deployments", headers=admin).json()["deployments"]
    assert [deployment["name"] for deployment in shown] == ["mood", "taste"]
    assert client.delete("/admin/deployments/mood", headers=admin).json()["removed"]
    assert client.post("/v1/deployments/mood/predict", json=TEXT).status_code == 404
    assert client.post("/v1/deployments/taste/predict", json=TEXT).status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("fresh", {"version": "mood@9"}, 404, "not_found"),
        ("fresh", {"version": "nobody"}, 404, "not_found"),
        ("fresh", {"version": "../etc"}, 400, "invalid_name"),
        ("fresh", {"version": "mood@0"}, 400, "invalid_name"),
        ("fresh", {"version": 3}, 400, "bad_request"),
        ("fresh", {}, 400, "bad_request"),
        ("Bad Name", {"version": "mood@1"}, 400, "invalid_name"),
    ],
)
def test_deploys_that_make_no_sense(refusing, admin, name, body, status, code) -> None:
    reply = refusing.put(f"/admin/deployments/{name}", json=body, headers=admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert [deployment["name"] for deployment in listed(refusing)] == ["mood"]


def test_a_damaged_version_is_refused_and_the_old_one_answers_on(add, client, live, admin) -> None:
    live("mood", seed=1)
    bad = add("mood", seed=2)
    (bad.path / "adapter_model.safetensors").write_bytes(b"\x80\x04 a pickle, perhaps")
    reply = client.put("/admin/deployments/mood", json={"version": "mood@2"}, headers=admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "bad_adapter")
    assert client.post("/v1/deployments/mood/predict", json=TEXT).headers["x-hub-version"] == "mood@1"


def test_a_rollback_without_a_past_is_a_conflict(refusing, admin) -> None:
    reply = refusing.post("/admin/deployments/mood/rollback", headers=admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")


def test_a_version_of_another_task_is_a_conflict(refusing, admin) -> None:
    reply = refusing.put("/admin/deployments/mood", json={"version": "topics"}, headers=admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")


def test_the_status_has_engines_slots_and_plugins(client, live, admin) -> None:
    version = live("mood", seed=1)
    status = client.get("/admin/status", headers=admin).json()
    (engine,) = status["engines"]
    assert engine["engine"]["name"] == "fake"
    assert [slot["sha256"] for slot in engine["slots"]["resident"]] == [version.sha256]
    assert status["generation"] == status["catalog_generation"] == 1
    assert {plugin["name"] for plugin in status["plugins"]} >= {"sentiment", "qa"}


def test_a_deploy_in_the_catalog_shows_without_a_restart(add, client, store, until) -> None:
    add(seed=1)
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    assert until(lambda: client.post("/v1/deployments/mood/predict", json=TEXT).status_code == 200)


def put(client, admin, **body):
    return client.put("/admin/deployments/mood", json=body, headers=admin)


def test_a_canary_is_tried_promoted_and_rolled_back(add, client, live, admin) -> None:
    live("mood", seed=1), add("mood", seed=2)
    tried = put(client, admin, version="mood@2", canary=100, guard={"error_rate": 0.01}).json()
    assert (tried["version"], tried["canary"]["version"]) == ("mood@1", "mood@2")
    assert (tried["canary"]["percent"], tried["canary"]["guard"]) == (100, {"error_rate": 0.01})
    answered = client.post("/v1/deployments/mood/predict", json=TEXT).headers
    assert (answered["x-hub-version"], answered["x-hub-track"]) == ("mood@2", "canary")
    reason = {"reason": "it does well", "by": "ann@desk"}
    promoted = client.post("/admin/deployments/mood/promote", json=reason, headers=admin).json()
    assert (promoted["version"], promoted["previous"], promoted["canary"]) == ("mood@2", "mood@1", None)
    answered = client.post("/v1/deployments/mood/predict", json=TEXT).headers
    assert (answered["x-hub-version"], answered["x-hub-track"]) == ("mood@2", "stable")
    back = client.post("/admin/deployments/mood/rollback", headers=admin).json()
    assert back["version"] == "mood@1"
    history = client.get("/admin/deployments/mood", headers=admin).json()["history"]
    assert [(move["kind"], move["who"]) for move in history] == [
        ("deploy", "admin"),
        ("canary", "admin"),
        ("promote", "ann@desk"),
        ("rollback", "admin"),
    ]


def test_a_shadow_answers_nobody_and_is_listed(add, client, live, admin) -> None:
    live("mood", seed=1)
    shadow = add("mood", seed=2)
    assert put(client, admin, version="mood@2", shadow=True).status_code == 200
    assert client.post("/v1/deployments/mood/predict", json=TEXT).headers["x-hub-version"] == "mood@1"
    (public,) = listed(client)
    (shown,) = client.get("/admin/deployments", headers=admin).json()["deployments"]
    assert public["shadow"] == shown["shadow"] == {"version": "mood@2", "sha256": shadow.sha256}
    assert public["canary"] is shown["canary"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"version": "mood@2", "canary": 101}, 400, "bad_request"),
        ({"version": "mood@2", "canary": 10, "shadow": True}, 400, "bad_request"),
        ({"version": "mood@2", "guard": {"error_rate": 0.1}}, 400, "bad_request"),
        ({"version": "mood@2", "canary": 10, "guard": {"no_such": 0.1}}, 400, "bad_request"),
        ({"version": "mood@1", "canary": 10}, 409, "conflict"),
    ],
)
def test_trials_that_make_no_sense(refusing, admin, body, status, code) -> None:
    reply = put(refusing, admin, **body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert listed(refusing)[0]["canary"] is None


def test_a_promotion_of_nothing_is_a_conflict(refusing, admin) -> None:
    reply = refusing.post("/admin/deployments/mood/promote", headers=admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")


def test_who_takes_a_deployment_away_and_why_is_kept(client, live, admin, store) -> None:
    live("mood", seed=1)
    body = {"reason": "not used", "by": "ann@desk"}
    assert client.request("DELETE", "/admin/deployments/mood", json=body, headers=admin).status_code == 200
    assert (store.history("mood")[-1].who, store.history("mood")[-1].reason) == ("ann@desk", "not used")
