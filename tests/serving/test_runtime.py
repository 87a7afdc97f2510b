"""Deployments live, moved, rolled back, evicted and broken, as callers see them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hub.config import load_settings
from hub.errors import BadAdapter, Conflict, EngineFailed, NotFound, NotReady
from hub.registry.host import Registry
from hub.serving.batching.base_workers import BaseWorker, BaseWorkers
from hub.serving.control import reconciler
from hub.serving.residency import residency
from hub.serving.runtime import Runtime
from hub.store.change import Deploy, DeploymentChange

TEXT = "a warm and funny film"


def test_a_deploy_is_live_when_it_returns(add, start) -> None:
    hub = start()
    add(seed=1)
    moved = hub.runtime.deploy("mood", Deploy(version="mood@1", by="tester", reason="first"))
    assert (str(moved.deployment.stable.ref), moved.deployment.generation) == ("mood@1", 1)
    assert hub.ask("mood", TEXT).version == "mood@1"


def test_versions_answer_differently_and_a_rollback_brings_the_old_answer_back(add, start) -> None:
    hub = start()
    add(seed=1), add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    first = hub.ask("mood", TEXT).scores
    hub.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    second = hub.ask("mood", TEXT).scores
    hub.runtime.rollback("mood", DeploymentChange(by="t"))
    assert first != second
    assert hub.ask("mood", TEXT).scores == first


def test_the_version_to_roll_back_to_stays_resident_and_older_ones_leave(add, start) -> None:
    hub = start()
    versions = [add(seed=seed) for seed in (1, 2, 3)]
    for version in versions:
        hub.runtime.deploy("mood", Deploy(version=version.ref, by="t"))
    assert {view.key for view in hub.base_worker.slots.view()} == {version.sha256 for version in versions[1:]}


def test_a_deploy_made_in_the_catalog_by_another_process_goes_live(add, start, store, until) -> None:
    hub = start()
    add(seed=1), add(seed=2)
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    assert until(lambda: hub.live() == {"mood": "mood@1"})
    store.deploy("mood", Deploy(version="mood@2", by="elsewhere"))
    assert until(lambda: hub.live() == {"mood": "mood@2"})
    store.undeploy("mood", DeploymentChange(by="elsewhere"))
    assert until(lambda: hub.live() == {})
    assert hub.runtime.status()["generation"] == store.generation()


def test_a_version_that_fails_to_load_leaves_the_old_one_live_and_says_why(add, start, store, until) -> None:
    hub = start()
    add(seed=1)
    bad = add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    with (bad.path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    store.deploy("mood", Deploy(version="mood@2", by="elsewhere"))
    assert until(lambda: hub.runtime.status()["failures"] != [])
    (failure,) = hub.runtime.status()["failures"]
    assert (failure["wanted"], failure["serving"]) == ("mood@2", "mood@1")
    assert "altered" in failure["reason"]
    assert hub.ask("mood", TEXT).version == "mood@1"


def test_a_failed_version_is_tried_again_after_a_while(add, start, store, until, monkeypatch) -> None:
    monkeypatch.setattr(reconciler, "RETRY_AFTER_S", 0.1)
    hub = start()
    version = add(seed=1)
    whole = (version.path / "adapter_model.safetensors").read_bytes()
    (version.path / "adapter_model.safetensors").write_bytes(whole[:100])
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    assert until(lambda: hub.runtime.status()["failures"] != [])
    (version.path / "adapter_model.safetensors").write_bytes(whole)
    assert until(lambda: hub.live() == {"mood": "mood@1"})


def test_a_deploy_that_cannot_be_served_moves_nothing(add, start, store) -> None:
    hub = start()
    add(seed=1)
    bad = add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    (bad.path / "adapter_config.json").unlink()
    with pytest.raises(BadAdapter, match=r"adapter_config\.json"):
        hub.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    assert store.generation() == 1
    assert str(store.deployment("mood").stable.ref) == "mood@1"
    assert hub.ask("mood", TEXT).version == "mood@1"


def test_an_adapter_that_changes_nothing_is_not_put_live(add, start) -> None:
    hub = start()
    add(edit=lambda key, tensor: tensor * 0 if "lora_B" in key else tensor)
    with pytest.raises(BadAdapter, match="changes nothing"):
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert hub.live() == {}
    assert hub.base_worker.slots.view() == [], "its slot is free again"


def test_unknown_versions_and_empty_histories_are_refused(add, start) -> None:
    hub = start()
    add(seed=1)
    with pytest.raises(NotFound, match="mood@1"):
        hub.runtime.deploy("mood", Deploy(version="mood@7", by="t"))
    with pytest.raises(NotFound, match="deployment"):
        hub.runtime.rollback("nothing", DeploymentChange(by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    with pytest.raises(Conflict, match="nothing to go back to"):
        hub.runtime.rollback("mood", DeploymentChange(by="t"))


def test_more_deployments_than_slots_are_all_answered_rightly(add, start) -> None:
    hub = start(slots=2)
    names = [f"mood-{seed}" for seed in range(5)]
    for seed, name in enumerate(names):
        add(name, seed=seed)
        hub.runtime.deploy(name, Deploy(version=name, by="t"))
    truth = {name: hub.ask(name, TEXT).scores for name in names}
    assert len({tuple(scores.items()) for scores in truth.values()}) == len(names)
    for _ in range(3):
        calls = [(name, hub.submit(name, TEXT)) for name in names * 4]
        assert [(name, call.result(30).scores) for name, call in calls] == [
            (name, truth[name]) for name, _ in calls
        ]
    assert hub.leases() == 0


def test_versions_in_constant_use_take_turns_on_too_few_slots(add, start) -> None:
    hub = start(slots=2)
    names = [f"mood-{seed}" for seed in range(4)]
    for seed, name in enumerate(names):
        add(name, seed=seed)
        hub.runtime.deploy(name, Deploy(version=name, by="t"))
    truth = {name: hub.ask(name, TEXT).scores for name in names}
    answers: dict[str, list[bool]] = {name: [] for name in names}
    failures: list[Exception] = []

    def keep_asking(name: str) -> None:
        try:
            for _ in range(20):
                answers[name].append(hub.ask(name, TEXT).scores == truth[name])
        except Exception as error:
            failures.append(error)

    clients = [threading.Thread(target=keep_asking, args=(name,)) for name in names * 2]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert failures == []
    assert answers == {name: [True] * 40 for name in names}


def test_a_restart_serves_what_the_catalog_says(add, start, store) -> None:
    add(seed=1), add("other", seed=2)
    store.deploy("mood", Deploy(version="mood@1", by="t"))
    store.deploy("other", Deploy(version="other@1", by="t"))
    hub = start(slots=1)
    assert hub.live() == {"mood": "mood@1", "other": "other@1"}
    assert [hub.ask(name, TEXT).version for name in ("mood", "other")] == ["mood@1", "other@1"]


def test_a_deployment_that_is_broken_at_the_start_says_why_and_others_answer(add, start, store) -> None:
    broken = add(seed=1)
    add("other", seed=2)
    (broken.path / "adapter_model.safetensors").unlink()
    store.deploy("mood", Deploy(version="mood@1", by="t"))
    store.deploy("other", Deploy(version="other@1", by="t"))
    hub = start()
    with pytest.raises(NotReady, match=r"mood.*adapter_model\.safetensors"):
        hub.ask("mood", TEXT)
    assert hub.ask("other", TEXT).version == "other@1"


def test_clients_see_neither_a_failure_nor_a_wrong_answer_while_versions_swap(add, start, until) -> None:
    hub = start()
    texts = [f"film number {number}" for number in range(5)]
    truth = {}
    for seed in (1, 2, 3):
        ref = str(add(seed=seed).ref)
        hub.runtime.deploy("mood", Deploy(version=ref, by="t"))
        truth[ref] = {text: hub.ask("mood", text).scores for text in texts}
    stop, seen, failures = threading.Event(), [], []

    def keep_asking(offset: int) -> None:
        turn = offset
        while not stop.is_set():
            text = texts[turn % len(texts)]
            turn += 1
            try:
                answered = hub.ask("mood", text)
                seen.append((answered.version, answered.scores == truth[answered.version][text]))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=keep_asking, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    for turn in range(12):
        if turn % 4 == 3:
            hub.runtime.rollback("mood", DeploymentChange(by="t"))
        else:
            hub.runtime.deploy("mood", Deploy(version=f"mood@{turn % 3 + 1}", by="t"))
        live, before = str(hub.runtime.store.deployment("mood").stable.ref), len(seen)
        assert hub.ask("mood", texts[0]).version == live, "what was deployed answers from then on"
        assert until(lambda start=before: len(seen) > start + 4), "the clients go on"
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert all(right for _, right in seen)
    assert {version for version, _ in seen} == set(truth)
    assert hub.leases() == 0


def test_a_runtime_that_is_still_loading_says_so(home) -> None:
    settings = load_settings()
    runtime = Runtime(settings, Registry.of(settings))
    assert not runtime.ready
    with pytest.raises(NotReady, match="still loading"):
        runtime.status()


@pytest.mark.parametrize("starting", [True, False])
def test_a_server_stops_while_a_base_is_being_opened(add, start, store, until, monkeypatch, starting) -> None:
    opening, go_on = threading.Event(), threading.Event()

    def hangs(base_workers: BaseWorkers, fingerprint: str) -> BaseWorker:
        opening.set()
        go_on.wait(30)
        raise EngineFailed("the test is over")

    monkeypatch.setattr(BaseWorkers, "open", hangs)
    monkeypatch.setattr(residency, "CLOSE_S", 0.1)
    add(seed=1)
    hub = None if starting else start()
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    settings = load_settings()
    runtime = hub.runtime if hub else Runtime(settings, Registry.of(settings))
    loop = asyncio.new_event_loop()
    if starting:
        runtime.start(loop)
    assert opening.wait(10)
    closer = threading.Thread(target=runtime.close, daemon=True)
    closer.start()
    closer.join(10)
    hung = closer.is_alive()
    go_on.set()
    closer.join(30)
    loop.close()
    assert not hung


def test_a_catalog_that_cannot_be_read_is_the_reason_given(home, start) -> None:
    (home.path / "catalog.db").write_bytes(b"this is no database, however long one looks at it" * 50)
    hub = start()
    with pytest.raises(NotReady, match=r"could not start.*catalog\.db"):
        hub.runtime.status()
