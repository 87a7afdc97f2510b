"""How a version gets into a slot: once, from a checked copy, or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest

from hub.engine.fake import FakeEngine
from hub.errors import BadAdapter, NotFound, NotReady
from hub.serving import residency
from hub.serving.reading import read_weights
from hub.store.manifest import Precision


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


def test_nothing_is_left_of_the_private_copies(add, resident, home) -> None:
    resident.ensure(add(seed=1)).result(10)
    assert list((home.path / "scratch").iterdir()) == []


def test_an_adapter_whose_answers_are_not_finite_is_refused(add, resident, monkeypatch) -> None:
    run = FakeEngine.run

    def overflow(self, rows):
        outputs = run(self, rows)
        return [dataclasses.replace(output, values=output.values * np.inf) for output in outputs]

    monkeypatch.setattr(FakeEngine, "run", overflow)
    with pytest.raises(BadAdapter, match="NaN or infinity"):
        resident.ensure(add(seed=1)).result(10)


def test_an_adapter_for_a_base_that_is_not_here_is_refused(add, resident, home) -> None:
    version = add(seed=1)
    (home.base.path / "base.json").unlink()
    with pytest.raises(NotFound, match="fingerprint"):
        resident.ensure(version).result(10)


def test_weights_under_another_hash_are_refused(add, home, tmp_path) -> None:
    first, second = add(seed=1), add(seed=2)
    swapped = dataclasses.replace(first, path=second.path)
    with pytest.raises(BadAdapter, match="altered"):
        read_weights(swapped, tmp_path, home.base)


def test_a_changed_label_order_is_another_content(add, home, tmp_path) -> None:
    version = add(seed=1)
    serving = version.manifest.serving.model_copy(update={"labels": ("positive", "negative")})
    relabelled = dataclasses.replace(
        version, manifest=version.manifest.model_copy(update={"serving": serving})
    )
    with pytest.raises(BadAdapter, match="altered"):
        read_weights(relabelled, tmp_path, home.base)


def test_a_version_that_asks_for_it_is_merged_when_it_is_loaded(add, home, tmp_path, resident) -> None:
    plain = add(seed=1)
    folder = tmp_path / "adapter"
    shutil.copytree(plain.path, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["layer.0.attention.self.query"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    serving = plain.manifest.serving.model_copy(update={"merged": True})
    version = home.store.add("mood", folder, serving, origin="imported")
    weights = read_weights(version, tmp_path, home.base)
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
    [({}, False), ({"int8": Precision(passed=False)}, False), ({"int8": Precision(passed=True)}, True)],
)
def test_only_what_was_measured_may_run_in_int8(add, home, tmp_path, precision, allowed) -> None:
    plain = add(seed=1)
    version = home.store.add(
        "int8", plain.path, plain.manifest.serving, origin="trained", precision=precision
    )
    assert read_weights(version, tmp_path, home.base).int8 is allowed


def test_a_request_for_a_version_that_cannot_be_loaded_says_why(add, start, store) -> None:
    hub = start(slots=1)
    good, bad = add(seed=1), add("other", seed=2)
    hub.runtime.deploy("other", "other@1", by="t")
    hub.runtime.deploy("mood", "mood@1", by="t")  # takes the only slot
    (bad.path / "adapter_model.safetensors").unlink()
    with pytest.raises(NotReady, match=r"'other' cannot be served: other@1: adapter_model\.safetensors"):
        hub.ask("other", "a film")
    assert hub.ask("mood", "a film").version == str(good.ref)
