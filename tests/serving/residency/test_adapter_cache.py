"""Adapters kept in memory: how many, and what they are good for."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from hub.api import HeadKind
from hub.engine.protocol import AdapterWeights, LayerUpdate
from hub.errors import BadAdapter
from hub.serving.residency.adapter_cache import AdapterCache
from hub.store.change import Deploy


def adapter(sha256: str, floats: int = 25, *, merged: bool = False) -> AdapterWeights:
    """An adapter of 4 bytes a float, half of them in a layer."""
    half = np.zeros((1, floats), dtype=np.float32)
    layers = {"layer": LayerUpdate(a=half)}
    return AdapterWeights(HeadKind.SEQUENCE, layers, {"head.weight": half}, 2, sha256, merged=merged)


def test_what_was_not_used_for_longest_makes_room() -> None:
    adapter_cache = AdapterCache(600)
    kept = {key: adapter(key) for key in "abc"}
    for weights in kept.values():
        adapter_cache.put(weights)
    assert adapter_cache.get("a") is kept["a"]
    adapter_cache.put(adapter("d"))
    assert adapter_cache.get("b") is None
    assert all(adapter_cache.get(key) for key in "acd")


def test_putting_one_again_takes_no_more_room() -> None:
    adapter_cache = AdapterCache(600)
    for key in "abcccc":
        adapter_cache.put(adapter(key))
    assert all(adapter_cache.get(key) for key in "abc")


@pytest.mark.parametrize(
    ("limit", "weights"), [(0, adapter("a")), (100, adapter("a")), (10_000, adapter("a", merged=True))]
)
def test_nothing_is_kept_where_there_is_no_room_nor_merged_copies(limit, weights) -> None:
    adapter_cache = AdapterCache(limit)
    adapter_cache.put(weights)
    assert adapter_cache.get("a") is None


def test_a_version_that_was_evicted_is_loaded_again_without_its_files(add, start) -> None:
    hub = start(slots=1, adapter_cache_mb=8)
    first = add(seed=1)
    add("other", seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    before = hub.ask("mood", "a film")
    hub.runtime.deploy("other", Deploy(version="other@1", by="t"))  # takes the only slot
    shutil.rmtree(first.path)
    after = hub.ask("mood", "a film")
    assert (after.version, after.items) == (before.version, before.items)
    assert hub.ask("other", "a film").items != before.items


def test_a_deploy_reads_the_files_all_the_same(add, start) -> None:
    hub = start(slots=1, adapter_cache_mb=8)
    first, _ = add(seed=1), add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    hub.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    shutil.rmtree(first.path)
    with pytest.raises(BadAdapter, match="gone from the store"):
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert hub.ask("mood", "a film").version == "mood@2"
