"""Tallies add up over replicas, survive repetition, and read latencies back within a bucket's width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.store.catalog.counters import Counters, TrialCounts, TrialKey
from hub.store.change import Deploy, DeploymentChange
from hub.store.store import Store

SECONDS = st.floats(1e-4, 1000)


@given(st.lists(SECONDS, min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_quantile_is_within_a_bucket_of_the_true_one(times: list[float], share: float) -> None:
    counter = TrialCounts()
    for seconds in times:
        counter.answer(seconds)
    ordered = sorted(times)
    true = ordered[max(0, int(np.ceil(share * len(times) - 1e-9)) - 1)]
    assert true / 1.1 <= counter.quantile(share) <= true * 1.1


@given(st.lists(SECONDS, max_size=200), SECONDS)
def test_those_slower_than_a_limit_are_counted_within_a_bucket_of_it(
    times: list[float], limit: float
) -> None:
    counter = TrialCounts()
    for seconds in times:
        counter.answer(seconds)
    surely = sum(seconds > limit * 1.1 for seconds in times)
    perhaps = sum(seconds > limit / 1.1 for seconds in times)
    assert surely - 1e-6 <= counter.slower_than(limit) <= perhaps + 1e-6


def test_nothing_counted_has_no_latency() -> None:
    assert TrialCounts().quantile(0.99) == 0.0
    assert TrialCounts().slower_than(0.1) == 0


def test_a_time_off_the_scale_is_counted_at_its_end() -> None:
    counter = TrialCounts()
    counter.answer(0.0)
    counter.answer(1e9)
    assert counter.requests == 2
    assert counter.slower_than(1000) == 1


def counter(requests: int, errors: int = 0, agreed: int = 0) -> TrialCounts:
    made = TrialCounts()
    for number in range(requests):
        if number < errors:
            made.fail()
        else:
            made.answer(0.01)
        made.compare(number < agreed)
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def on_trial(request, tmp_path, peft_folder, serving) -> Iterator[tuple[Store, TrialKey]]:
    """A store whose deployment `shop` has a canary, and the key of that."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    store = Store(tmp_path / "home", url)
    store.add("x", peft_folder(1), serving, origin="trained")
    version = store.add("x", peft_folder(2), serving, origin="trained")
    store.deploy("shop", Deploy(version="x@1", by="t"))
    trial = store.deploy("shop", Deploy(version="x@2", canary=10, by="t")).trial
    assert trial
    yield store, TrialKey("shop", trial, version.sha256)
    store.close()


def test_replicas_are_added_up_and_saving_again_changes_nothing(on_trial) -> None:
    store, key = on_trial
    counters = Counters(store.catalog)
    for _ in range(2):
        assert counters.save("one", {key: counter(10, errors=2, agreed=5)}) == set()
        assert counters.save("two", {key: counter(5, agreed=5)}) == set()
    total = counters.of("shop", key.trial)[key.sha256]
    assert (total.requests, total.errors, total.compared, total.agreed) == (15, 2, 15, 10)
    assert total.latencies.total() == 13
    assert total.quantile(0.5) == pytest.approx(0.01, rel=0.1)


def test_what_is_counted_of_a_trial_goes_when_the_trial_is_over(on_trial) -> None:
    store, key = on_trial
    counters = Counters(store.catalog)
    counters.save("one", {key: counter(10)})
    counters.prune()
    assert counters.of("shop", key.trial), "the trial goes on"
    store.rollback("shop", DeploymentChange(by="t"))
    assert counters.save("one", {key: counter(12)}) == {key}
    assert counters.of("shop", key.trial)[key.sha256].requests == 10, "what comes late is not written"
    counters.prune()
    assert counters.of("shop", key.trial) == {}
