"""Canaries and shadows as callers, operators and observers see them."""

from __future__ import annotations

import threading
import time

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.engine.slots.table import SlotState
from hub.errors import BadAdapter, BadRequest, Conflict, InvalidText, NotFound
from hub.serving.control import reconciler
from hub.serving.observation import Track
from hub.serving.residency import residency
from hub.store.change import Deploy, DeploymentChange

TEXT = "a warm and funny film"
ALL, NONE, SHADOW = {"canary": 100.0}, {"canary": 0.0}, {"shadow": True}


@pytest.fixture
def live(add, start, watching):
    """A runtime with the deployment `mood` on its first version, three more stored, an observer listening."""
    hub = start(observer=watching)
    for seed in (1, 2, 3, 4):
        add(seed=seed)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    return hub


def damage(version) -> None:
    with (version.path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")


def test_a_canary_answers_its_share_and_the_stable_version_the_rest(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", canary=50.0, by="t"))
    told = {live.ask("mood", TEXT, key=str(number)).version for number in range(40)}
    assert told == {"mood@1", "mood@2"}
    route = live.runtime.router.routes.by_name["mood"]
    assert (str(route.stable.version.ref), str(route.canary.version.ref)) == ("mood@1", "mood@2")
    assert live.leases() == 0


def test_a_canary_answers_with_its_own_weights(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    tried = live.ask("mood", TEXT)
    live.runtime.promote("mood", DeploymentChange(by="t"))
    promoted = live.ask("mood", TEXT)
    assert (tried.version, tried.scores) == (promoted.version, promoted.scores)
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    assert live.ask("mood", TEXT).scores != tried.scores


def test_a_promotion_makes_the_canary_stable_and_keeps_the_version_before_resident(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", canary=10.0, by="t"))
    moved = live.runtime.promote("mood", DeploymentChange(by="t", reason="it does well"))
    assert (str(moved.deployment.stable.ref), str(moved.deployment.previous.ref)) == ("mood@2", "mood@1")
    assert live.ask("mood", TEXT).version == "mood@2"
    kinds = [(move.kind, move.reason) for move in live.runtime.store.history("mood")]
    assert kinds == [("deploy", ""), ("canary", ""), ("promote", "it does well")]
    assert len(live.base_worker.slots.view()) == 2


def test_a_rollback_ends_a_trial_and_the_stable_version_stays(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@3", **SHADOW, by="t"))
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    assert live.ask("mood", TEXT).version == "mood@1"
    route = live.runtime.router.routes.by_name["mood"]
    assert (route.canary, route.shadow) == (None, None)
    assert len(live.base_worker.slots.view()) == 1, "what was tried is drained"


def test_a_rollback_of_a_resident_version_takes_no_50_ms(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        live.runtime.rollback("mood", DeploymentChange(by="t"))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


def test_a_change_of_a_deployment_that_has_changed_since_is_refused(live) -> None:
    first = live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@3", **ALL, by="t"))
    for change in (live.runtime.promote, live.runtime.rollback):
        with pytest.raises(Conflict, match="changed meanwhile"):
            change("mood", DeploymentChange(by="guard"), seen=first.deployment.generation)
    assert live.ask("mood", TEXT).version == "mood@3"


def test_a_share_of_none_and_of_all(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **NONE, by="t"))
    assert {live.ask("mood", TEXT).version for _ in range(20)} == {"mood@1"}
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    assert {live.ask("mood", TEXT).version for _ in range(20)} == {"mood@2"}


@pytest.mark.parametrize("trial", [ALL, SHADOW])
def test_a_trial_that_cannot_be_served_moves_nothing(live, add, trial) -> None:
    bad = add(seed=9)
    damage(bad)
    with pytest.raises(BadAdapter, match="altered"):
        live.runtime.deploy("mood", Deploy(version=bad.ref, **trial, by="t"))
    assert live.runtime.store.generation() == 1
    assert live.ask("mood", TEXT).version == "mood@1"


def test_trials_that_make_no_sense(live, add) -> None:
    add("topics", seed=7, task="classification")
    with pytest.raises(Conflict, match="live in 'mood' already"):
        live.runtime.deploy("mood", Deploy(version="mood@1", **ALL, by="t"))
    with pytest.raises(Conflict, match="serves the task"):
        live.runtime.deploy("mood", Deploy(version="topics@1", **SHADOW, by="t"))
    with pytest.raises(NotFound, match="deployment"):
        live.runtime.deploy("taste", Deploy(version="mood@1", **ALL, by="t"))
    with pytest.raises(Conflict, match="no canary and no shadow"):
        live.runtime.promote("mood", DeploymentChange(by="t"))
    with pytest.raises(BadRequest, match="not as both"):
        Deploy.of(version="mood@2", canary=10, shadow=True)
    with pytest.raises(BadRequest, match="guard watches a canary"):
        Deploy.of(version="mood@2", shadow=True, guard={"error_rate": 0.1})
    with pytest.raises(BadRequest, match="canary: Input should be less than"):
        Deploy.of(version="mood@2", canary=101)
    with pytest.raises(BadRequest, match="error_rat"):
        Deploy.of(version="mood@2", canary=10, guard={"error_rat": 0.1})


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_a_broken_trial_made_elsewhere_is_told_and_the_stable_version_answers_all(
    live, add, until, monkeypatch, role
) -> None:
    monkeypatch.setattr(reconciler, "RETRY_AFTER_S", 0.1)
    bad = add(seed=9)
    whole = (bad.path / "adapter_model.safetensors").read_bytes()
    damage(bad)
    store = live.runtime.store
    if role == "canary":
        store.deploy("mood", Deploy(version=bad.ref, canary=100, by="elsewhere"))
    else:
        store.deploy("mood", Deploy(version=bad.ref, shadow=True, by="elsewhere"))
    assert until(lambda: live.runtime.status()["failures"] != [])
    (failure,) = live.runtime.status()["failures"]
    assert (failure["role"], failure["wanted"], failure["serving"]) == (role, str(bad.ref), "mood@1")
    assert "altered" in failure["reason"]
    assert {live.ask("mood", TEXT).version for _ in range(10)} == {"mood@1"}
    (bad.path / "adapter_model.safetensors").write_bytes(whole)
    assert until(lambda: live.runtime.status()["failures"] == [])
    assert until(lambda: len(live.runtime.router.routes.by_name["mood"].targets) == 2)


def test_a_canary_that_cannot_be_loaded_again_leaves_its_requests_to_the_stable_version(
    live, until, monkeypatch
) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    canary = live.runtime.store.get("mood@2")
    live.base_worker.slots.drain(canary.sha256)
    whole = (canary.path / "adapter_model.safetensors").read_bytes()
    damage(canary)
    assert [live.ask("mood", TEXT).version for _ in range(3)] == ["mood@1"] * 3
    (failure,) = live.runtime.status()["failures"]
    assert (failure["role"], failure["wanted"], failure["serving"]) == ("canary", "mood@2", "mood@1")
    (canary.path / "adapter_model.safetensors").write_bytes(whole)
    with live.runtime._ready().reconciler.prepared(canary):
        pass
    assert live.ask("mood", TEXT).version == "mood@2"


def test_a_canary_that_ends_while_it_is_loaded_is_no_failure_that_stays(live, until, monkeypatch) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    canary = live.runtime.store.get("mood@2")
    live.base_worker.slots.drain(canary.sha256)
    damage(canary)
    loads, ended = live.runtime._ready().residency, threading.Event()
    monkeypatch.setattr(loads, "_fetch", lambda version: ended.wait(30))
    asked = live.submit("mood", TEXT)
    assert until(lambda: loads.waiting().get(canary.sha256))
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    ended.set()
    assert asked.result(30).version == "mood@1"
    assert live.runtime.status()["failures"] == []


def test_a_canary_that_was_evicted_is_loaded_for_its_request(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    live.base_worker.slots.drain(live.runtime.store.get("mood@2").sha256)
    assert live.ask("mood", TEXT).version == "mood@2"


def test_a_shadow_that_was_evicted_is_loaded_for_later_and_nobody_waits(live, watching, until) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **SHADOW, by="t"))
    shadow = live.runtime.store.get("mood@2").sha256
    live.base_worker.slots.drain(shadow)
    assert live.ask("mood", TEXT).version == "mood@1"
    assert until(lambda: len(watching.seen) == 1)
    assert watching.seen[0].beside is None
    assert until(lambda: live.base_worker.slots.state(shadow) is SlotState.RESIDENT)
    live.ask("mood", TEXT)
    assert until(lambda: len(watching.seen) == 2)
    assert str(watching.seen[1].beside.ref) == "mood@2"


def test_a_canary_and_a_shadow_survive_a_restart(add, start, store) -> None:
    for seed in (1, 2, 3):
        add(seed=seed)
    store.deploy("mood", Deploy(version="mood@1", by="t"))
    store.deploy("mood", Deploy(version="mood@2", canary=100, by="t"))
    store.deploy("mood", Deploy(version="mood@3", shadow=True, by="t"))
    hub = start()
    assert hub.ask("mood", TEXT).version == "mood@2"
    route = hub.runtime.router.routes.by_name["mood"]
    assert [str(target.version.ref) for target in route.targets] == ["mood@1", "mood@2", "mood@3"]


def test_the_share_of_a_running_canary_changes_without_loading_anything(live, monkeypatch) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **NONE, by="t"))
    monkeypatch.setattr(residency, "read_weights", lambda *given: 1 / 0, raising=False)
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    assert live.ask("mood", TEXT).version == "mood@2"


def test_what_serves_is_described_with_its_tracks(live) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", canary=12.5, guard={"error_rate": 0.1}, by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@3", **SHADOW, by="t"))
    (told,) = live.runtime.status()["deployments"]
    assert told["version"] == "mood@1"
    assert told["canary"] | {"sha256": ""} == {
        "version": "mood@2",
        "sha256": "",
        "percent": 12.5,
        "guard": {"error_rate": 0.1},
    }
    assert told["shadow"]["version"] == "mood@3"


def test_every_request_of_a_call_is_observed_with_its_answer(live, watching, monkeypatch) -> None:
    encode = SentimentTask.encode

    def choosy(self, request, tokenizer, adapter):
        if request.text == "no":
            raise InvalidText("Not this one.")
        return encode(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", choosy)
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    (answer, _) = live.ask("mood", TEXT, "no").items
    first, second = watching.seen
    assert (first.track, str(first.version.ref), first.request_id) == (Track.CANARY, "mood@2", "r-1.0")
    assert (first.error, first.response, first.request.text) == ("", answer, TEXT)
    assert first.seconds > 0
    assert (second.error, second.response, second.request.text) == ("invalid_text", None, "no")
    assert first.deployment.trial == 2


def test_what_nobody_wants_costs_nothing(live, watching) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", **SHADOW, by="t"))
    watching.wanted = False
    live.ask("mood", TEXT)
    assert watching.seen == []
    assert live.leases() == 0


def test_agreement_counts_only_what_can_be_compared(live, watching, until, monkeypatch) -> None:
    monkeypatch.setattr(SentimentTask, "agrees", lambda self, answer, other: None)
    live.runtime.deploy("mood", Deploy(version="mood@2", **ALL, by="t"))
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@2", **SHADOW, by="t"))
    live.ask("mood", TEXT)
    assert until(lambda: any(seen.beside for seen in watching.seen))
    assert [seen.agreed for seen in watching.seen if seen.beside] == [None]


def test_a_guard_of_agreement_is_refused_where_answers_hold_only_floats(live, monkeypatch) -> None:
    monkeypatch.setattr("hub.serving.runtime.can_agree", lambda loaded: False)
    guarded = {"canary": 10.0, "guard": {"agreement": 0.9}}
    with pytest.raises(Conflict, match="a method `agrees`"):
        live.runtime.deploy("mood", Deploy(version="mood@2", **guarded, by="t"))
