"""How a version gets into a slot: once, from a checked copy, or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hub.engine.fake import FakeEngine
from hub.engine.protocol import AdapterWeights
from hub.errors import BadAdapter, NotFound, NotReady, Overloaded
from hub.serving.batching.probe import SlotProbe
from hub.serving.residency import reading, residency
from hub.serving.residency.reading import read_weights
from hub.store.change import Deploy, DeploymentChange
from hub.store.manifest import PrecisionRecord


@pytest.fixture
def resident(start):
    """A started runtime's residency."""
    return start().runtime._ready().residency


def test_many_that_want_a_version_at_once_load_it_once(add, resident, monkeypatch) -> None:
    version = add(seed=1)
    loads = []
    monkeypatch.setattr(residency, "read_weights", lambda *given: loads.append(given) or read_weights(*given))
    futures = []
    threads = [threading.Thread(target=lambda: futures.append(resident.ensure(version))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for future in futures:
        future.result(10)
    assert len(loads) == 1
    _, lease = resident.lease(version)
    lease.release()


def test_a_failure_is_remembered_and_tried_again_when_that_is_asked_for(add, resident, monkeypatch) -> None:
    version = add(seed=1)
    weights = version.path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    with pytest.raises(BadAdapter):
        resident.ensure(version).result(10)
    weights.write_bytes(whole)
    with pytest.raises(BadAdapter):
        resident.ensure(version).result(10)
    resident.ensure(version, again=True).result(10)
    assert resident.lease(version)


def test_a_remembered_failure_expires(add, resident, monkeypatch) -> None:
    monkeypatch.setattr(residency, "RETRY_AFTER_S", 0.0)
    version = add(seed=1)
    weights = version.path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"")
    with pytest.raises(BadAdapter):
        resident.ensure(version).result(10)
    weights.write_bytes(whole)
    resident.ensure(version).result(10)


def test_an_adapter_whose_answers_are_not_finite_is_refused(add, resident, monkeypatch) -> None:
    run = FakeEngine.run

    def overflow(self, rows, *, aside):
        outputs = run(self, rows, aside=aside)
        return [dataclasses.replace(output, values=output.values * np.inf) for output in outputs]

    monkeypatch.setattr(FakeEngine, "run", overflow)
    with pytest.raises(BadAdapter, match="NaN or infinity"):
        resident.ensure(add(seed=1)).result(10)


def test_an_adapter_for_a_base_that_is_not_here_is_refused(add, resident, home) -> None:
    version = add(seed=1)
    (home.base.path / "base.json").unlink()
    with pytest.raises(NotFound, match="fingerprint"):
        resident.ensure(version).result(10)


def test_a_rank_above_the_limit_is_refused_before_any_weights_are_read(add, start, monkeypatch) -> None:
    hub = start(max_rank=1)
    add(seed=1)
    reads: list[object] = []
    monkeypatch.setattr("hub.store.content.weights._tensors", lambda *given: reads.append(given))
    with pytest.raises(BadAdapter, match=r"rank 2 .* limit is 1.*serve\.max_rank"):
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert reads == []
    assert hub.base_worker.engine._adapters == {}


def test_a_merged_adapter_may_have_any_rank(add, home, monkeypatch) -> None:
    version = add(seed=1)
    serving = version.manifest.serving.model_copy(update={"merged": True})
    merged = dataclasses.replace(version, manifest=version.manifest.model_copy(update={"serving": serving}))
    files = {path.name: path.read_bytes() for path in version.path.iterdir() if path.is_file()}
    monkeypatch.setattr(reading, "read_verified", lambda version: files)
    monkeypatch.setattr(reading, "weights_of", lambda base, config, tensors, **given: tensors)
    monkeypatch.setattr(reading, "replace", lambda tensors, **given: tensors)
    assert read_weights(merged, home.base, 1)


def test_a_refused_adapter_is_not_kept_in_memory_by_its_error(add, start, monkeypatch) -> None:
    hub = start()
    add(seed=1)
    held: list[weakref.ref[Any]] = []

    def fail(self: FakeEngine, slot: int, weights: AdapterWeights) -> None:
        held.extend(weakref.ref(update.a) for update in weights.layers.values())
        raise BadAdapter("It does not fit.")

    monkeypatch.setattr(FakeEngine, "write", fail)
    with pytest.raises(BadAdapter, match="not fit"):
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert held
    assert [array() for array in held] == [None] * len(held)


def test_weights_under_another_hash_are_refused(add, home) -> None:
    first, second = add(seed=1), add(seed=2)
    swapped = dataclasses.replace(first, path=second.path)
    with pytest.raises(BadAdapter, match="altered"):
        read_weights(swapped, home.base)


def test_a_changed_label_order_is_another_content(add, home) -> None:
    version = add(seed=1)
    serving = version.manifest.serving.model_copy(update={"labels": ("positive", "negative")})
    relabelled = dataclasses.replace(
        version, manifest=version.manifest.model_copy(update={"serving": serving})
    )
    with pytest.raises(BadAdapter, match="altered"):
        read_weights(relabelled, home.base)


def test_a_version_that_asks_for_it_is_merged_when_it_is_loaded(add, home, tmp_path, resident) -> None:
    plain = add(seed=1)
    folder = tmp_path / "adapter"
    shutil.copytree(plain.path, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["layer.0.attention.self.query"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    serving = plain.manifest.serving.model_copy(update={"merged": True})
    version = home.store.add("mood", folder, serving, origin="imported")
    weights = read_weights(version, home.base)
    assert weights.merged
    assert weights.layers == {}
    assert sorted(weights.full) == [
        "bert.encoder.layer.0.attention.self.query.weight",
        "classifier.bias",
        "classifier.weight",
    ]
    resident.ensure(version).result(30)
    assert resident.lease(version)


@pytest.mark.parametrize(
    ("precision", "allowed"),
    [
        ({}, False),
        ({"int8": PrecisionRecord(passed=False)}, False),
        ({"int8": PrecisionRecord(passed=True)}, True),
    ],
)
def test_only_what_was_measured_may_run_in_int8(add, home, precision, allowed) -> None:
    plain = add(seed=1)
    version = home.store.add(
        "int8", plain.path, plain.manifest.serving, origin="trained", precision=precision
    )
    assert read_weights(version, home.base).int8 is allowed


def test_a_request_for_a_version_that_cannot_be_loaded_says_why(add, start, store) -> None:
    hub = start(slots=1)
    good, bad = add(seed=1), add("other", seed=2)
    hub.runtime.deploy("other", Deploy(version="other@1", by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))  # takes the only slot
    (bad.path / "adapter_model.safetensors").unlink()
    with pytest.raises(NotReady, match=r"'other' cannot be served: other@1: adapter_model\.safetensors"):
        hub.ask("other", "a film")
    assert hub.ask("mood", "a film").version == str(good.ref)


def test_undeploying_clears_what_the_version_left_in_the_engine(add, start, until) -> None:
    hub = start()
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    hub.ask("mood", "a film")
    assert len(hub.base_worker.engine._adapters) == 1
    hub.runtime.undeploy("mood", DeploymentChange(by="t"))
    assert until(lambda: hub.base_worker.engine._adapters == {})
    assert hub.base_worker.slots.in_use == 0
    (gone,) = hub.runtime.status()["engines"][0]["slots"]["gone"]
    assert (gone["version"], gone["state"], gone["reason"]) == ("mood@1", "drained", "no deployment needs it")


def test_a_version_that_fails_its_probe_is_cleared_from_the_engine(add, start, until, monkeypatch) -> None:
    hub = start()
    add(seed=1)
    monkeypatch.setattr(SlotProbe, "check", lambda *given: (_ for _ in ()).throw(BadAdapter("It is bare.")))
    with pytest.raises(BadAdapter, match="bare"):
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert until(lambda: hub.base_worker.engine._adapters == {})
    status = hub.runtime.status()
    assert [
        (gone["version"], gone["state"], gone["reason"]) for gone in status["engines"][0]["slots"]["gone"]
    ] == [("mood@1", "failed", "It is bare.")]
    assert [(load["version"], load["state"]) for load in status["loads"]] == [("mood@1", "failed")]


def test_what_a_deploy_made_ready_is_not_evicted_before_it_is_live(add, start, monkeypatch) -> None:
    hub = start(slots=1, load_timeout_s=0.5)
    add(seed=1), add(seed=2)
    other = add("other", seed=3)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    store, deploy = hub.runtime.store, hub.runtime.store.deploy
    seen = []

    def deploy_late(*given, **more):
        with pytest.raises(Overloaded):
            hub.base_worker.slots.reserve(other.sha256)
        seen.extend(view.pinned for view in hub.base_worker.slots.view())
        return deploy(*given, **more)

    monkeypatch.setattr(store, "deploy", deploy_late)
    hub.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    assert seen == [True]
    (view,) = hub.base_worker.slots.view()
    assert (view.name, view.pinned) == ("mood@2", False)
    assert hub.ask("mood", "a film").version == "mood@2"


def test_requests_are_told_when_a_load_takes_too_long_and_a_deploy_too(
    add, start, until, monkeypatch
) -> None:
    hub = start(slots=1, load_timeout_s=0.2)
    add(seed=1), add("slow", seed=2), add("slower", seed=3)
    hub.runtime.deploy("slow", Deploy(version="slow@1", by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))  # takes the only slot
    gate = threading.Event()
    monkeypatch.setattr(residency, "read_weights", lambda *given: gate.wait(10) and read_weights(*given))
    with pytest.raises(NotReady, match=r"'slow' cannot be served: slow@1 is not loaded after 0\.2 s"):
        hub.ask("slow", "a film")
    assert hub.ask("mood", "a film").version == "mood@1", "what is resident goes on"
    with pytest.raises(NotReady, match=r"slower@1 is not loaded after 0\.2 s"):
        hub.runtime.deploy("slower", Deploy(version="slower@1", by="t"))
    assert "slower" not in hub.live()
    gate.set()
    assert until(lambda: hub.runtime.status()["loads"] == [])
    assert hub.ask("slow", "a film").version == "slow@1"


def test_a_base_that_takes_long_to_open_keeps_no_other_from_being_used(start, monkeypatch) -> None:
    base_workers = start().runtime._ready().base_workers
    entered, gate = threading.Event(), threading.Event()
    made = {name: SimpleNamespace(close=lambda: None) for name in ("quick", "slow")}

    def build(base):
        if base == "slow":
            entered.set()
            assert gate.wait(10)
        return made[base]

    monkeypatch.setattr(base_workers, "_build", build)
    monkeypatch.setattr(base_workers._bases, "by_fingerprint", lambda fingerprint: fingerprint)
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(base_workers.open("slow"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    assert base_workers.open("quick") is base_workers.open("quick") is made["quick"]
    gate.set()
    for thread in threads:
        thread.join()
    assert opened == [made["slow"]] * 2
