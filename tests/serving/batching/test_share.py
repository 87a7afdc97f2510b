"""Which requests a canary gets: by key the same ones each time, without a key its share of them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.serving.observation import Track
from hub.serving.routing.router import Router, sticky_point
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy

keys = st.text(max_size=300)
shares = st.floats(0, 100)


@pytest.fixture(scope="module")
def deployment():
    """A deployment in its trial 7; what is behind it plays no part."""
    from datetime import UTC, datetime

    from hub.store.records import Deployment

    return Deployment("mood", "sentiment", None, None, 7, datetime.now(UTC), trial=7)


@given(key=keys)
def test_a_key_falls_on_a_point_of_the_scale_and_always_the_same(deployment, key) -> None:
    point = sticky_point(deployment, key)
    assert 0 <= point < 100
    assert point == sticky_point(replace(deployment, generation=9), key), "a larger share is a move as well"


@given(key=keys, one=shares, other=shares)
def test_a_larger_share_takes_no_key_from_the_canary(deployment, key, one, other) -> None:
    point, (smaller, larger) = sticky_point(deployment, key), sorted((one, other))
    assert not point < smaller or point < larger


def test_another_trial_and_another_deployment_choose_other_keys(deployment) -> None:
    points = [
        [sticky_point(one, str(key)) for key in range(50)]
        for one in (deployment, replace(deployment, trial=8), replace(deployment, name="taste"))
    ]
    assert len({tuple(row) for row in points}) == 3


@pytest.mark.parametrize("percent", [0.5, 10, 50, 97])
def test_keys_spread_evenly(deployment, percent) -> None:
    total = 20_000
    share = sum(sticky_point(deployment, f"user-{key}") < percent for key in range(total))
    assert abs(share - total * percent / 100) < _five_sigma(total, percent)


@pytest.fixture
def tracks(add, start):
    """How many of `total` requests a canary of `percent` gets; given keys, one request for each."""
    hub = start()
    add(seed=1), add(seed=2)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    store = hub.runtime.store

    def count(percent: float, total: int, key=lambda number: "", seed: int = 1) -> list[Track]:
        store.deploy("mood", Deploy(version="mood@2", canary=percent, by="t"))
        hub.runtime._ready().reconciler.converge()
        router = Router(hub.runtime._ready().residency, draw=random.Random(seed).random)
        router.publish(hub.runtime.router.routes)

        async def admit() -> list[Track]:
            chosen = []
            for number in range(total):
                with await router.admit(by_name("mood"), key(number)) as admission:
                    assert str(admission.version.ref) == (
                        "mood@2" if admission.track == "canary" else "mood@1"
                    )
                    chosen.append(admission.track)
            return chosen

        found = asyncio.run_coroutine_threadsafe(admit(), hub.loop).result(60)
        assert hub.leases() == 0
        return found

    return count


@pytest.mark.parametrize("percent", [10, 35.5])
def test_requests_without_a_key_are_shared_out_by_chance(tracks, percent) -> None:
    total = 4000
    share = tracks(percent, total).count(Track.CANARY)
    assert abs(share - total * percent / 100) < _five_sigma(total, percent)


def test_none_and_all(tracks) -> None:
    assert set(tracks(0, 300)) == {Track.STABLE}
    assert set(tracks(100, 300)) == {Track.CANARY}
    assert set(tracks(0, 300, key=str)) == {Track.STABLE}
    assert set(tracks(100, 300, key=str)) == {Track.CANARY}


def test_a_key_keeps_its_track_while_the_share_grows(tracks) -> None:
    runs = [tracks(percent, 400, key=str, seed=turn) for turn, percent in enumerate((10, 10, 30, 80))]
    assert runs[0] == runs[1]
    counts = [run.count(Track.CANARY) for run in runs]
    assert 0 < counts[0] < counts[2] < counts[3] < 400
    for before, after in pairwise(runs):
        moved = {(one, other) for one, other in zip(before, after, strict=True) if one != other}
        assert moved <= {(Track.STABLE, Track.CANARY)}


def _five_sigma(total: int, percent: float) -> float:
    """Five standard deviations of a binomial count: passed by chance all but once in two million times."""
    share = percent / 100
    return 5 * (total * share * (1 - share)) ** 0.5
