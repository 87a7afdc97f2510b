"""POST /v1/feedback, over HTTP with the real service."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.config import FeedbackSettings
from hub.serving.canary import answer_log, watchdog
from hub.serving.canary.answer_log import AnswerLog
from hub.serving.meter import Meter
from hub.store.catalog.feedback import Answers, StoredAnswer
from hub.store.catalog.replicas import Replicas
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome
from tests.support.serving import let_time_pass

KEPT = {"keep": "texts", "days": 30, "rows": 100}
ONE = "/v1/deployments/mood/predict"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def keeping(tmp_path_factory, tiny_base_folder):
    """A server with the deployment `mood` that keeps answers and their requests."""
    home = FakeHome(tmp_path_factory.mktemp("keeping"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="t"))
    with serve(home.path, HUB_FEEDBACK=json.dumps(KEPT)) as client:
        yield client


@pytest.fixture
def own(add, store, home, monkeypatch):
    """Such a server for a test that changes its catalog."""
    monkeypatch.setattr(watchdog, "CHECK_S", 0.1)
    store.deploy("mood", Deploy(version=add("mood", seed=1).ref, by="t"))
    with serve(home.path, HUB_FEEDBACK=json.dumps(KEPT)) as client:
        yield client


def give(client, request_id, label, **more):
    return client.post("/v1/feedback", json={"request_id": request_id, "label": label}, **more)


def test_an_answer_can_be_labelled_as_soon_as_it_is_there_and_again(keeping) -> None:
    reply = keeping.post(ONE, json={"text": "a warm film"})
    id, label = reply.headers["x-hub-request-id"], reply.json()["label"]
    given = give(keeping, id, label)
    assert given.status_code == 200, given.text
    assert given.json() == {"request_id": id, "deployment": "mood", "version": "mood@1", "correct": True}
    wrong = {"negative": "positive", "positive": "negative"}[label]
    assert give(keeping, id, wrong).json()["correct"] is False
    assert give(keeping, id, [label]).json()["correct"] is True
    assert give(keeping, id, {"label": label}).json()["correct"] is True


def test_each_item_of_a_call_has_an_id_of_its_own(keeping) -> None:
    sent = {"items": [{"text": "one"}, {"text": ""}, {"text": "three"}]}
    reply = keeping.post(ONE, json=sent, headers={"x-hub-request-id": "my-call"})
    third = reply.json()["items"][2]["result"]["label"]
    assert give(keeping, "my-call.2", third).json()["correct"] is True
    assert give(keeping, "my-call.1", third).status_code == 404, "it had no answer"
    assert give(keeping, "my-call", third).status_code == 404


def by_polarity(monkeypatch, agrees) -> None:
    """Let the task `sentiment` compare answers by `agrees` of their polarities."""
    monkeypatch.setattr(
        SentimentTask, "agrees", lambda self, one, other: agrees(one.polarity, other.polarity)
    )


def answered(client) -> tuple[str, float]:
    reply = client.post(ONE, json={"text": "a warm film"})
    return reply.headers["x-hub-request-id"], reply.json()["polarity"]


def test_an_object_is_compared_by_the_tasks_own_agrees(keeping, monkeypatch) -> None:
    id, polarity = answered(keeping)
    near, far = {"polarity": polarity + 0.05}, {"polarity": polarity + 0.5}
    assert give(keeping, id, near).json()["correct"] is False
    by_polarity(monkeypatch, lambda one, other: abs(one - other) < 0.1)
    assert give(keeping, id, near).json()["correct"] is True
    assert give(keeping, id, far).json()["correct"] is False
    assert give(keeping, id, {"polarity": "near"}).json()["correct"] is False


def test_an_agrees_that_hangs_ends_at_the_time_limit_and_holds_up_no_other_label(
    serving, service, monkeypatch, add, store
) -> None:
    monkeypatch.setenv("HUB_FEEDBACK", json.dumps(KEPT))
    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "60")
    store.deploy("mood", Deploy(version=add("mood", seed=1).ref, by="t"))
    inside, late, go = threading.Event(), threading.Event(), threading.Event()

    def hang(one: float, other: float) -> bool:
        inside.set()
        late.wait(60)
        let_time_pass(service.hub.runtime)
        return go.wait(60)

    by_polarity(monkeypatch, hang)
    with serving() as client, ThreadPoolExecutor(1) as threads:
        id, polarity = answered(client)
        hanging = threads.submit(give, client, id, {"polarity": polarity})
        assert inside.wait(20)
        other = client.post(ONE, json={"text": "a cold film"})
        given = give(client, other.headers["x-hub-request-id"], other.json()["label"])
        assert given.json()["correct"] is True, "the catalog takes labels meanwhile"
        assert not hanging.done()
        late.set()
        reply = hanging.result(30)
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "plugin_timeout")
        assert "plugin 'sentiment' did not finish agrees" in reply.json()["error"]["message"]
        go.set()


def test_an_agrees_that_fails_is_the_plugins_fault(keeping, monkeypatch) -> None:
    id, polarity = answered(keeping)
    for wrong in (lambda one, other: 1 / 0, lambda one, other: "yes"):
        by_polarity(monkeypatch, wrong)
        reply = give(keeping, id, {"polarity": polarity})
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "plugin_failed")
        assert "'sentiment'" in reply.json()["error"]["message"]


def test_a_label_is_not_tied_to_an_answer_that_took_the_place_of_the_one_compared(keep_log) -> None:
    log, answers, answer = keep_log
    newer = replace(answer, response='{"label": "negative"}')
    compared = []

    async def is_correct(found, label) -> bool:
        if not compared:
            answers.keep([newer])
        compared.append(found.response)
        return label == json.loads(found.response)["label"]

    given = asyncio.run(log.label(answer.request_id, "positive", is_correct))
    assert compared == [answer.response, newer.response]
    assert given.correct is False


@pytest.fixture
def keep_log(store):
    """A log with one answer in it."""
    answers = Answers(store.catalog)
    answer = StoredAnswer("once", "mood", "mood@1", "0" * 64, datetime.now(UTC), '{"label": "positive"}')
    answers.keep([answer])
    return AnswerLog(answers, FeedbackSettings(keep="answers"), Meter(), lambda: True), answers, answer


def test_an_unknown_id_is_404_with_the_retention_at_once_without_other_replicas(keeping, monkeypatch) -> None:
    monkeypatch.setattr(answer_log, "WRITE_S", 3600.0)  # the wait for other replicas is a multiple
    reply = give(keeping, "never-seen", "positive")
    assert reply.status_code == 404
    assert "'never-seen'" in reply.json()["error"]["message"]
    assert "newest 100 answers of the last 30 days" in reply.json()["error"]["message"]


def test_by_default_nothing_is_kept_and_the_error_names_the_setting(client, live, store) -> None:
    live("mood", 1)
    reply = client.post(ONE, json={"text": "a warm film"})
    refused = give(client, reply.headers["x-hub-request-id"], "positive")
    assert refused.status_code == 409
    assert "feedback.keep" in refused.json()["error"]["message"]
    assert Answers(store.catalog).scores() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request_id": "a"}, 400),
        ({"label": "a"}, 400),
        ({"request_id": "a b", "label": "a"}, 400),
        ({"request_id": "a" * 65, "label": "a"}, 400),
        ({"request_id": "a", "label": 3}, 400),
        ({"request_id": "a", "label": None}, 400),
        ({"request_id": "a", "label": ["a"] * 1001}, 400),
        ({"request_id": "a", "label": "a", "more": 1}, 400),
        ({"request_id": "a", "label": {"text": "a" * 200_001}}, 413),
        ({"request_id": "a", "label": "a" * 3_000_000}, 413),
    ],
)
def test_a_wrong_body_is_refused(keeping, body, status) -> None:
    reply = keeping.post("/v1/feedback", json=body)
    assert reply.status_code == status, reply.text
    assert "aaa" not in reply.text, "what was sent is not repeated"


def test_text_that_is_not_unicode_is_refused(keeping) -> None:
    reply = keeping.post(ONE, json={"text": "a warm film"})
    id = reply.headers["x-hub-request-id"]
    for label in ('"\\ud800"', '{"\\udfff": 1}', '{"answer": "\\ud800"}'):
        sent = f'{{"request_id": "{id}", "label": {label}}}'
        assert keeping.post("/v1/feedback", content=sent, headers=JSON).status_code == 400, label
    assert give(keeping, id, "\x00").json()["correct"] is False


def test_numbers_beyond_all_floats_match_no_score_or_are_refused(keeping) -> None:
    id = keeping.post(ONE, json={"text": "a warm film"}).headers["x-hub-request-id"]
    assert give(keeping, id, {"polarity": 10**400}).json()["correct"] is False
    sent = f'{{"request_id": "{id}", "label": {{"polarity": 1e999}}}}'
    refused = keeping.post("/v1/feedback", content=sent, headers=JSON)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "label")


def test_it_needs_an_api_key_where_answers_do(serving, monkeypatch) -> None:
    monkeypatch.setenv("HUB_SERVE__API_KEYS", '["a-key-of-sixteen"]')
    monkeypatch.setenv("HUB_FEEDBACK__KEEP", "answers")
    with serving() as client:
        assert give(client, "a", "b").status_code == 401
        assert give(client, "a", "b", headers={"authorization": "Bearer a-key-of-sixteen"}).status_code == 404


def test_the_page_of_routes_shows_it(keeping) -> None:
    route = keeping.get("/openapi.json").json()["paths"]["/v1/feedback"]["post"]
    assert route["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/FeedbackRequest")


def test_what_is_kept_is_counted_and_no_log_line_holds_a_word_of_it(keeping, admin, until, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    reply = keeping.post(ONE, json={"text": "a secret confession"})
    give(keeping, reply.headers["x-hub-request-id"], "secret label")
    give(keeping, "unknown", "secret label")
    result = keeping.get("/admin/status", headers=admin).json()["feedback"]
    assert (result["keep"], result["dropped"], result["error"]) == ("texts", 0, "")
    assert result["kept"] >= 1
    assert 'hub_feedback_answers_total{outcome="ok"}' in keeping.get("/metrics").text
    assert "confession" not in caplog.text
    assert "secret" not in caplog.text


def test_an_answer_that_another_replica_has_yet_to_write_is_waited_for(own, store, monkeypatch) -> None:
    Replicas(store.catalog).report("other", host="h", pid=1, url="", generation=1, failures={})
    late = StoredAnswer("late", "mood", "mood@1", "0" * 64, datetime.now(UTC), '{"label": "positive"}')

    async def others_write(seconds: float) -> None:
        Answers(store.catalog).keep([late])

    waiting = SimpleNamespace(to_thread=asyncio.to_thread, sleep=others_write)
    monkeypatch.setattr(answer_log, "asyncio", waiting)
    assert give(own, "late", "positive").json()["correct"] is True


def test_hub_status_shows_the_answer_log_and_the_guards(own, add, admin, until, capsys) -> None:
    from hub.cli.status import _show

    version = add("mood", seed=2)
    guarded = {"version": str(version.ref), "canary": 50, "guard": {"agreement": 0.9}}
    assert own.put("/admin/deployments/mood", json=guarded, headers=admin).status_code == 200

    def status() -> dict:
        return own.get("/admin/status", headers=admin).json()

    assert until(lambda: status()["guards"])
    _show({"server": "http://here", **status()})
    shown = capsys.readouterr().out
    assert "guard of mood: 0 of 100 requests" in shown
    assert "Feedback: texts (0 kept, 0 waiting, 0 dropped since this replica started)" in shown


@pytest.mark.parametrize(
    ("guard", "said"), [({"agrement": 0.9}, "no 'agrement'"), ({"agreement": 95}, "guard agreement")]
)
def test_a_wrong_guard_is_refused_before_anything_moves(own, add, admin, guard, said) -> None:
    body = {"version": str(add("mood", seed=2).ref), "canary": 50, "guard": guard}
    reply = own.put("/admin/deployments/mood", json=body, headers=admin)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert own.get("/admin/deployments/mood", headers=admin).json()["canary"] is None
