"""POST /v1/deployments/NAME/explain, over HTTP with the real service."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from grafthub_sentiment.task import SentimentTask
from starlette.testclient import TestClient

from hub.api import BadRequest, HeadKind
from hub.config import load_settings
from hub.errors import Overloaded
from hub.explain.attribution import ExplainOptions, explain
from hub.http.routes.explain import MAX_WAITING, OneAtATime
from hub.registry.host import Registry
from hub.serving.requests import pipeline
from hub.store.change import Deploy
from hub.store.records import Version
from tests.http.conftest import serve
from tests.support.homes import FakeHome, add_version
from tests.support.tiny import tiny_adapter

ONE = "/v1/deployments/mood/explain"
TEXT = "a warm film"


def add_real(home: FakeHome, seed: int) -> Version:
    """Store what PEFT itself can load, which the fake adapters of other tests are not."""
    labels = ("negative", "positive")
    with TemporaryDirectory() as folder:
        adapter = tiny_adapter(
            home.base, Path(folder), kind=HeadKind.SEQUENCE, labels=labels, seed=seed, spread=0.5
        )
        return add_version(home.store, home.base, "mood", adapter, labels=labels)


@contextmanager
def serve_explaining(home: FakeHome) -> Iterator[TestClient]:
    home.store.deploy("mood", Deploy(version=add_real(home, 1).ref, by="t"))
    with serve(home.path, HUB_SERVE__EXPLAIN="true") as client:
        yield client


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory, tiny_base_folder):
    return FakeHome(tmp_path_factory.mktemp("explaining"), tiny_base_folder)


@pytest.fixture(scope="module")
def explaining(shared_home):
    """A server with the deployment `mood` that explains."""
    with serve_explaining(shared_home) as client:
        yield client


@pytest.fixture
def own(home):
    """Such a server for a test that changes or suspends something."""
    with serve_explaining(home) as client:
        yield client


def ask(client, text=TEXT, **more):
    return client.post(ONE, json={"request": {"text": text}, **more})


def code(reply) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_a_base_has_nothing_to_explain(explaining) -> None:
    reply = explaining.post("/v1/deployments/tiny/explain", json={"request": {"inputs": TEXT}})
    assert code(reply) == (409, "conflict")
    assert "'tiny' is a base" in reply.json()["error"]["message"]


def test_it_is_off_by_default(client, live) -> None:
    live("mood", 1)
    reply = ask(client)
    assert code(reply) == (409, "conflict")
    assert "serve.explain" in reply.json()["error"]["message"]


def test_an_explanation_names_the_version_and_equals_that_of_the_command(explaining, shared_home) -> None:
    reply = ask(explaining)
    assert reply.status_code == 200, reply.text
    result = reply.json()
    answer = explaining.post("/v1/deployments/mood/predict", json={"text": TEXT})
    assert (result["deployment"], result["version"]) == ("mood", answer.headers["x-hub-version"])
    assert (result["sha256"], result["track"]) == (answer.headers["x-hub-sha256"], "stable")
    assert len(result["tokens"]) == len(result["scores"]) == len(result["offsets"])
    assert sum(result["scores"]) == pytest.approx(
        result["score"] - result["baseline_score"] + result["convergence_delta"], abs=1e-4
    )
    store, registry = shared_home.store, Registry.of(load_settings())
    same = explain(store.get("mood@1"), {"text": TEXT}, ExplainOptions(), registry=registry, store=store)
    assert result["scores"] == pytest.approx(list(same.scores), abs=1e-5)
    assert [word["text"] for word in result["words"]] == [word.text for word in same.merged()]


def test_attention_gives_shares_and_a_label_can_be_chosen(explaining) -> None:
    result = ask(explaining, method="attention", target="negative").json()
    assert (result["method"], result["target"], result["baseline_score"]) == ("attention", "negative", None)
    assert sum(result["scores"]) == pytest.approx(1, abs=1e-4)


def test_after_a_swap_the_new_version_is_explained(own, home, admin) -> None:
    before = ask(own).json()
    body = {"version": str(add_real(home, 2).ref)}
    assert own.put("/admin/deployments/mood", json=body, headers=admin).status_code == 200
    after = ask(own).json()
    assert (before["version"], after["version"]) == ("mood@1", "mood@2")
    assert before["scores"] != pytest.approx(after["scores"], abs=1e-4)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"request": {"text": ""}}, (400, "invalid_text")),
        ({"request": {"words": "x"}}, (400, "bad_request")),
        ({"request": {"text": TEXT}, "target": "sad"}, (404, "not_found")),
        ({"request": {"text": TEXT}, "word": "warm"}, (400, "bad_request")),
        ({"request": {"text": TEXT}, "method": "guess"}, (400, "bad_request")),
        ({"text": TEXT}, (400, "bad_request")),
    ],
)
def test_what_cannot_be_explained_is_refused(explaining, body, expected) -> None:
    reply = explaining.post(ONE, json=body)
    assert code(reply) == expected
    if "request" in body and expected == (400, "bad_request") and len(body) == 1:
        assert reply.json()["error"]["field"].startswith("request.")


def test_an_unknown_deployment_is_404(explaining) -> None:
    reply = explaining.post("/v1/deployments/none/explain", json={"request": {"text": TEXT}})
    assert code(reply) == (404, "not_found")


def test_files_that_were_altered_explain_nothing(own, store) -> None:
    weights = store.get("mood@1").path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert code(ask(own)) == (422, "bad_adapter")
    assert own.post("/v1/deployments/mood/predict", json={"text": TEXT}).status_code == 200


def test_without_captum_gradients_say_which_extra_to_install(explaining, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    reply = ask(explaining)
    assert code(reply) == (501, "missing_extra")
    assert "explain" in reply.json()["error"]["message"]


@pytest.fixture
def hang(monkeypatch):
    """Make `encode` hang on "hang", from the time the server has started, until `go` is set."""
    go, encode = threading.Event(), SentimentTask.encode

    def hangs(task, request, *given):
        if request.text == "hang":
            go.wait(60)
        return encode(task, request, *given)

    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "0.2")
    monkeypatch.setattr(pipeline, "encode_threads", lambda: 2)
    monkeypatch.setattr(SentimentTask, "encode", hangs)
    yield go
    go.set()


def test_a_plugin_that_hangs_costs_its_explanation_and_the_next_one_works(hang, own) -> None:
    reply = ask(own, "hang")
    assert code(reply) == (504, "plugin_timeout")
    assert "'sentiment' of plugin 'sentiment' did not finish encode" in reply.json()["error"]["message"]
    assert ask(own, method="attention").status_code == 200


def test_explanations_that_hang_suspend_the_task_until_they_return(hang, own, admin, until) -> None:
    assert [code(ask(own, "hang")) for _ in range(2)] == [(504, "plugin_timeout")] * 2
    assert code(ask(own)) == (503, "plugin_suspended")
    assert code(own.post("/v1/deployments/mood/predict", json={"text": TEXT}))[0] == 503
    (found,) = own.get("/admin/status", headers=admin).json()["hanging"]
    assert (found["plugin"], found["suspended"], found["stuck_calls"]) == ("sentiment", True, 2)
    hang.set()
    assert until(lambda: ask(own, method="attention").status_code == 200)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError("no"), (500, "plugin_failed")),
        (SystemExit(3), (500, "plugin_failed")),
        (BadRequest("Send another text."), (400, "bad_request")),
    ],
)
def test_what_encode_raises_is_answered_as_for_a_prediction(
    explaining, monkeypatch, raised, expected
) -> None:
    def fail(*given):
        raise raised

    monkeypatch.setattr(SentimentTask, "encode", fail)
    assert code(ask(explaining)) == expected
    assert code(explaining.post("/v1/deployments/mood/predict", json={"text": TEXT})) == expected


def test_rows_that_no_engine_would_take_are_not_explained(explaining, monkeypatch) -> None:
    monkeypatch.setattr(SentimentTask, "encode", lambda *given: [])
    assert code(ask(explaining)) == (500, "plugin_failed")


def test_one_runs_some_wait_and_more_are_refused() -> None:
    turns, gate, ran = OneAtATime(), threading.Event(), []

    def call(number: int) -> int:
        gate.wait(10)
        ran.append(number)
        return number

    async def many() -> list[object]:
        asked = [
            asyncio.ensure_future(turns.run(lambda n=number: call(n))) for number in range(MAX_WAITING + 3)
        ]
        await asyncio.sleep(0)
        asked[2].cancel()  # its caller left while it waited
        for _ in range(3):
            await asyncio.sleep(0)  # what is cancelled hears of it in the loop's next turns
        gate.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(many())
    assert [one for one in found if isinstance(one, int)] == [0, 1, 3, 4]
    assert isinstance(found[2], asyncio.CancelledError)
    assert all(isinstance(one, Overloaded) for one in found[MAX_WAITING + 1 :])
    assert ran == [0, 1, 3, 4]
    assert asyncio.run(turns.run(lambda: 7)) == 7
