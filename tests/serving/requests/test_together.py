"""One request to several deployments: one forward for each base, each text tokenized once."""

from __future__ import annotations

import asyncio
import threading

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.api import HeadKind
from hub.errors import HubError, InvalidText, NotFound, Overloaded, TooLarge
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy
from tests.serving.requests.test_beside import ELECTRA, Engine, slot_of
from tests.support.homes import FakeHome, add_version, plain_adapter
from tests.support.serving import let_time_pass
from tests.support.tokens import tokenized

TEXT = "a warm and funny film"
FIELDS = {"text": TEXT, "question": "Who saw it?", "context": "Ann saw the film on Monday."}
TASKS = {
    "mood": {},
    "taste": {},
    "topic": {"task": "classification"},
    "names": {"task": "extraction", "kind": HeadKind.TOKEN, "labels": ("O", "B-PER")},
    "reader": {"task": "qa", "kind": HeadKind.SPAN, "labels": ()},
}


@pytest.fixture
def begin(add, start, watching):
    """A runtime with a deployment for each of TASKS."""

    def build(slots: int = 8, **limits: int):
        hub = start(limits=limits, observer=watching, slots=slots)
        for seed, (name, made) in enumerate(TASKS.items()):
            add(name, seed=seed, **made)
            hub.runtime.deploy(name, Deploy(version=f"{name}@1", by="t"))
        return hub

    return build


@pytest.fixture
def live(begin):
    return begin()


@pytest.fixture
def engine(live, monkeypatch) -> Engine:
    return Engine(live, monkeypatch)


async def ask_each(hub, names, fields):
    """The versions and answers, or errors, in the order of the names."""
    admitted = await hub.runtime.router.admit_each([by_name(name) for name in names])
    taken = [one for one in admitted if isinstance(one, Admission)]
    requests = []
    for one in taken:
        model = one.route.task.request
        known = {name: value for name, value in fields.items() if name in model.model_fields}
        requests.append(model.model_validate(known))
    try:
        found = iter(await hub.runtime.pipeline.run_each(taken, requests, request_id="r-1"))
    finally:
        for one in taken:
            one.__exit__()
    return [next(found) if isinstance(one, Admission) else one for one in admitted]


def ask(hub, *names, fields=FIELDS):
    return asyncio.run_coroutine_threadsafe(ask_each(hub, names, fields), hub.loop).result(30)


def outcome(answers: CallAnswers | HubError):
    return answers if isinstance(answers, HubError) else answers.items[0]


def test_all_rows_run_in_one_forward_each_at_its_own_slot(live, engine) -> None:
    answers = ask(live, *TASKS)
    assert engine.forwards == [[slot_of(live, f"{name}@1") for name in TASKS]]
    assert live.leases() == 0
    for name, answer in zip(TASKS, answers, strict=True):
        assert answer.bodies == ask(live, name)[0].bodies, name
    assert live.ask("mood", TEXT).items == answers[0].items


def test_a_text_is_tokenized_once(live, monkeypatch) -> None:
    calls = tokenized(monkeypatch)
    ask(live, *TASKS)
    assert calls == {TEXT: 1, FIELDS["question"]: 1}
    calls.clear()
    for name in TASKS:
        ask(live, name)
    assert calls == {TEXT: 4, FIELDS["question"]: 1}


def test_a_task_that_changes_its_tokens_changes_no_others(live, monkeypatch) -> None:
    alone = ask(live, "topic")[0].bodies
    encode = SentimentTask.encode

    def spoiling(self, request, tokenizer, adapter):
        rows = encode(self, request, tokenizer, adapter)
        encoding = tokenizer(request.text, verbose=False)
        encoding["input_ids"].clear()
        encoding["more"] = [1]
        return rows

    monkeypatch.setattr(SentimentTask, "encode", spoiling)
    first, second, topic = ask(live, "mood", "taste", "topic")
    assert topic.bodies == alone
    assert first.items and second.items


def test_each_failure_stays_in_its_place(live, engine, monkeypatch) -> None:
    encode = SentimentTask.encode

    def choosy(self, request, tokenizer, adapter):
        if adapter.name == "taste":
            raise InvalidText("Not this one.")
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", choosy)
    answers = [outcome(one) for one in ask(live, "mood", "nope", "taste", "reader@2", "topic")]
    codes = [one.code if isinstance(one, HubError) else "ok" for one in answers]
    assert codes == ["ok", "not_found", "invalid_text", "version_unavailable", "ok"]
    assert engine.forwards == [[slot_of(live, "mood@1"), slot_of(live, "topic@1")]]
    assert live.leases() == 0


def test_a_plugin_that_hangs_fails_alone(begin, monkeypatch) -> None:
    hub = begin(plugin_timeout_s=60)
    encode, gate = SentimentTask.encode, threading.Event()

    def hanging(self, request, tokenizer, adapter):
        if adapter.name == "taste":
            let_time_pass(hub.runtime)
            gate.wait(60)
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", hanging)
    try:
        answers = [outcome(one) for one in ask(hub, "topic", "taste", "reader")]
        codes = [one.code if isinstance(one, HubError) else "ok" for one in answers]
        assert codes == ["ok", "plugin_timeout", "ok"]
    finally:
        gate.set()
    assert ask(hub, "taste")


def test_a_call_over_its_limits_fails_alone(begin) -> None:
    hub = begin(rows=1)
    fields = {**FIELDS, "text": "word " * 400, "context": "word " * 400}
    mood, names = (outcome(one) for one in ask(hub, "mood", "names", fields=fields))
    assert not isinstance(mood, HubError)
    assert isinstance(names, TooLarge)
    assert hub.leases() == 0


def test_a_full_queue_is_told_to_each(begin, monkeypatch, until) -> None:
    hub = begin(queued_rows=2)
    engine = Engine(hub, monkeypatch)
    engine.gate.clear()
    first = hub.submit("mood", TEXT)
    assert engine.inside.wait(10)
    second = hub.submit("mood", TEXT)
    assert until(lambda: hub.base_worker.batcher.waiting == 1)
    answers = ask_in_background(hub, "reader", "topic")
    assert [type(outcome(one)) for one in answers.result(10)] == [Overloaded, Overloaded]
    engine.gate.set()
    assert first.result(10).scores and second.result(10).scores
    assert until(lambda: hub.leases() == 0)


def ask_in_background(hub, *names):
    return asyncio.run_coroutine_threadsafe(ask_each(hub, names, FIELDS), hub.loop)


def test_a_cancelled_request_gives_every_slot_back(live, engine, until, monkeypatch) -> None:
    """One call waits in its encode stage, so the others wait for it; then the client leaves."""
    encode, inside, gate = SentimentTask.encode, threading.Event(), threading.Event()

    def slow(self, request, tokenizer, adapter):
        inside.set()
        gate.wait(30)
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", slow)
    asked = ask_in_background(live, "topic", "mood")
    assert inside.wait(10)
    assert live.leases() == 2
    asked.cancel()
    assert until(lambda: live.leases() == 1), "the call that waited for the other"
    gate.set()
    assert until(lambda: live.leases() == 0)
    assert engine.forwards == []
    assert live.base_worker.batcher.waiting == 0
    assert live.ask("mood", TEXT).scores


def test_a_shadow_runs_beside_in_the_same_forward(add, live, engine, watching, until) -> None:
    add("mood", seed=20)
    live.runtime.deploy("mood", Deploy(version="mood@2", shadow=True, by="t"))
    engine.forwards.clear()
    ask(live, "topic", "mood")
    assert [sorted(one) for one in engine.forwards] == [
        sorted(slot_of(live, ref) for ref in ("topic@1", "mood@1", "mood@2"))
    ]
    assert until(lambda: live.leases() == 0)
    assert until(lambda: len(watching.seen) == 2)
    (shadowed,) = [one for one in watching.seen if one.beside]
    assert (shadowed.deployment.name, shadowed.request_id) == ("mood", "r-1.1")


def test_evicted_versions_are_loaded_and_then_leased_together(live, engine) -> None:
    for name in ("mood", "topic"):
        live.base_worker.slots.drain(live.runtime.router.routes.by_name[name].version.sha256)
    answers = ask(live, "mood", "topic", "reader")
    assert not any(isinstance(outcome(one), HubError) for one in answers)
    assert [len(one) for one in engine.forwards] == [3]


def test_more_deployments_than_slots_are_refused_in_their_places(begin) -> None:
    hub = begin(slots=3)
    answers = [outcome(one) for one in ask(hub, *TASKS)]
    refused = [one for one in answers if isinstance(one, HubError)]
    assert refused and all(isinstance(one, Overloaded) and "serve.slots" in str(one) for one in refused)
    assert len(refused) < len(TASKS)
    assert hub.leases() == 0


def test_a_name_that_the_catalog_has_just_got_is_admitted(add, live, monkeypatch) -> None:
    add("fresh", seed=30)
    live.runtime.store.deploy("fresh", Deploy(version="fresh@1", by="another process"))
    mood, fresh = ask(live, "mood", "fresh")
    assert not isinstance(outcome(mood), HubError) and not isinstance(outcome(fresh), HubError)
    assert live.leases() == 0


def test_bases_have_a_forward_each(live, engine, home: FakeHome, tmp_path) -> None:
    from tests.support.tiny import tiny_encoder

    tiny_encoder(tmp_path / "electra", "electra")
    base = home.store.bases.pull(str(tmp_path / "electra"), "electra")
    add_version(home.store, base, "far", plain_adapter(tmp_path / "far", seed=5, module=ELECTRA))
    mood = slot_of(live, "mood@1")
    live.runtime.deploy("far", Deploy(version="far@1", by="t"))
    answers = ask(live, "far", "mood")
    assert [str(outcome(one)) for one in answers] == [
        str(outcome(ask(live, name)[0])) for name in ("far", "mood")
    ]
    assert engine.forwards == [[mood], [mood]]


def test_nothing_known_is_not_found(live) -> None:
    assert [type(one) for one in ask(live, "nope", "neither")] == [NotFound, NotFound]
