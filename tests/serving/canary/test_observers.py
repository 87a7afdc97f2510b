"""A whole runtime with its guards and its log of answers."""

from __future__ import annotations

import json

import pytest
from grafthub_sentiment.models import SentimentResponse
from grafthub_sentiment.task import SentimentTask

from hub.config import FeedbackSettings
from hub.errors import Conflict, NotReady
from hub.serving.canary import answer_log, watchdog
from hub.serving.canary.answer_log import AnswerLog
from hub.serving.meter import Meter
from hub.serving.observation import Observation, Track
from hub.store.catalog.feedback import Answers
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.homes import add_version, plain_adapter

TEXT = "a warm and funny film"
GUARDED = {"canary": 100.0, "guard": {"error_rate": 0.05, "requests": 20, "minutes": 0}}


@pytest.fixture(autouse=True)
def _canaries_are_looked_at_often(monkeypatch) -> None:
    monkeypatch.setattr(watchdog, "CHECK_S", 0.1)


@pytest.fixture
def breaks_v2(monkeypatch) -> None:
    """Make the task fail for requests to the second version of an adapter, though not for its own example."""
    encode = SentimentTask.encode

    def broken(self, request, tokenizer, adapter):
        if adapter.version == 2 and request.text == TEXT:
            raise RuntimeError("a fault in the plugin")
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", broken)


def ask_often(hub) -> None:
    for _ in range(25):
        hub.ask("mood", TEXT)


def moves(store) -> list[tuple[str, str]]:
    return [(move.kind, move.who) for move in store.history("mood")]


def test_a_canary_that_fails_is_taken_away_and_callers_get_the_stable_version(
    add, start, until, breaks_v2, store
) -> None:
    hub = start(url="")
    add(seed=1), add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@2", **GUARDED, by="t"))
    assert until(lambda: hub.runtime.status()["guards"] == {"mood": "0 of 20 requests"})
    ask_often(hub)
    assert until(lambda: moves(store)[-1] == ("rollback", "guard"))
    assert until(lambda: hub.ask("mood", TEXT).version == "mood@1")
    assert hub.ask("mood", TEXT).scores


def test_a_canary_that_does_well_is_promoted_for_every_replica(add, start, until, store) -> None:
    one, two = start(url=""), start(url="")
    add(seed=1), add(seed=2)
    one.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    one.runtime.deploy("mood", Deploy(version="mood@2", **GUARDED, by="t"))
    assert until(lambda: two.live() == {"mood": "mood@1"})
    ask_often(one)
    assert until(lambda: one.live() == two.live() == {"mood": "mood@2"})
    assert moves(store) == [("deploy", "t"), ("canary", "t"), ("promote", "guard")]


def test_a_catalog_that_is_gone_for_a_while_delays_the_decision_and_no_answer(
    home, start, until, breaks_v2, monkeypatch, postgres_server, postgres_url, tmp_path
) -> None:
    monkeypatch.setenv("HUB_CATALOG__URL", postgres_url)
    store = Store(home.path, postgres_url)
    for seed in (1, 2):
        add_version(store, home.base, "mood", plain_adapter(tmp_path / f"made-{seed}", seed=seed))
    hub = start(url="")
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@2", **GUARDED, by="t"))
    postgres_server.stop()
    try:
        ask_often(hub)
    finally:
        postgres_server.start()
    decided = [("deploy", "t"), ("canary", "t"), ("rollback", "guard")]
    assert until(lambda: moves(store) == decided, 60)
    store.close()


@pytest.fixture
def keep(store, add):
    """Return a log of answers over the store's catalog, and a way to tell it of an answer."""
    version = add(seed=1)
    deployment = store.deploy("mood", Deploy(version=version.ref, by="t"))
    response = SentimentResponse(label="positive", score=0.9, polarity=0.8, scores={"positive": 0.9})
    request = SentimentTask.request(SentimentTask(), {"text": TEXT})

    def build(**settings):
        log = AnswerLog(Answers(store.catalog), FeedbackSettings(**settings), Meter(), lambda: True)

        def take(id: str, **more) -> None:
            given = {"request": request, "response": response} | more
            log.take(Observation(deployment, Track.STABLE, version, id, 0.01, **given))

        return log, take

    return build


def kept(store) -> int:
    return sum(score.answers for score in Answers(store.catalog).scores())


def test_requests_are_kept_with_texts_alone(keep, store) -> None:
    for what, text in (("answers", None), ("texts", TEXT)):
        log, take = keep(keep=what)
        take(what)
        log.flush()
        Answers(store.catalog).label(what, "positive", lambda response, label: True)
        found = {one.answer.request_id: one.answer for one in Answers(store.catalog).labelled("mood")}
        answer = found[what]
        assert (answer.request and json.loads(answer.request)["text"]) == text
        assert json.loads(answer.response)["label"] == "positive"


def test_what_cannot_be_kept_is_counted_and_nothing_waits_for_it(keep, store, monkeypatch) -> None:
    monkeypatch.setattr(answer_log, "MAX_WAITING", 3)
    log, take = keep(keep="answers")
    for number in range(5):
        take(f"r{number}")
    take("a" * 65)
    assert log.describe() == {"keep": "answers", "kept": 0, "waiting": 3, "dropped": 3, "error": ""}
    log.flush()
    take("r5")
    log.flush()
    assert (log.describe()["kept"], log.describe()["waiting"], kept(store)) == (4, 0, 4)


def test_long_texts_that_wait_are_bounded_too(keep, monkeypatch) -> None:
    monkeypatch.setattr(answer_log, "MAX_WAITING_CHARACTERS", 2 * len(TEXT))
    log, take = keep(keep="texts")
    for number in range(3):
        take(f"r{number}")
    assert (log.describe()["waiting"], log.describe()["dropped"]) == (2, 1)
    log.flush()
    take("r3")
    assert log.describe()["waiting"] == 1


def test_answers_wait_for_a_catalog_that_is_gone(keep, store, monkeypatch) -> None:
    log, take = keep(keep="answers")
    take("r1")

    def gone() -> None:
        raise NotReady("The catalog cannot be used right now.")

    with monkeypatch.context() as outage:
        outage.setattr(store.catalog, "write", gone)
        with pytest.raises(NotReady):
            log.flush()
    assert log.describe()["waiting"] == 1
    log.flush()
    assert kept(store) == 1


def test_an_answer_that_is_no_json_does_not_hold_up_the_others(keep, store) -> None:
    class Odd(SentimentResponse):
        def model_dump_json(self, **options: object) -> str:
            raise ValueError("a fault in the plugin")

    log, take = keep(keep="answers")
    odd = Odd(label="a", score=0.5, polarity=0, scores={})
    take("r1"), take("r2", response=odd), take("r3")
    log.flush()
    assert (log.describe()["kept"], log.describe()["dropped"], kept(store)) == (2, 1, 2)


def test_errors_and_calls_without_an_id_are_not_kept(keep, store) -> None:
    log, take = keep(keep="answers")
    take("r1", response=None, error="invalid_text")
    take("")
    log.flush()
    assert kept(store) == 0


def test_a_writer_removes_what_is_past_its_time_also_when_nothing_new_is_kept(keep, store, until) -> None:
    log, take = keep(keep="answers")
    for number in range(5):
        take(f"r{number}")
    log.flush()
    off, _ = keep(keep="nothing", rows=2)
    off.start()
    assert until(lambda: kept(store) == 2)
    off.stop()


def test_stopping_writes_what_waits(keep, store) -> None:
    log, take = keep(keep="answers")
    log.start()
    take("r1")
    log.stop()
    assert kept(store) == 1


def test_a_guard_of_accuracy_is_refused_where_no_answer_can_be_labelled(add, start, monkeypatch) -> None:
    add(seed=1), add(seed=2)
    trial = {"canary": 10.0, "guard": {"accuracy": 0.02}}
    hub = start(url="")
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    with pytest.raises(Conflict, match=r"feedback\.keep"):
        hub.runtime.deploy("mood", Deploy(version="mood@2", **trial, by="t"))
    monkeypatch.setenv("HUB_FEEDBACK__KEEP", "answers")
    assert start(url="").runtime.deploy("mood", Deploy(version="mood@2", **trial, by="t")).deployment.canary
