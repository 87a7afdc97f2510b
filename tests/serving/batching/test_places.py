"""QueuePlaces of a full queue: a quiet caller still gets in, and the queue stays bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.engine.shares import Flow
from hub.serving.batching.places import QueuePlaces

flows = st.builds(Flow, st.sampled_from("abcd"), st.sampled_from("xyz"))


@given(st.integers(1, 50), st.lists(st.tuples(flows, st.integers(1, 20), st.booleans()), max_size=60))
def test_the_books_balance_and_the_queue_is_bounded(limit, steps) -> None:
    places = QueuePlaces(limit)
    taken: list[tuple[Flow, int]] = []
    for flow, count, back in steps:
        if back and taken:
            places.give_back(*taken.pop())
        elif places.fit(flow, count):
            places.take(flow, count)
            taken.append((flow, count))
        else:
            assert len(places) + count > limit, "there is no free place left unused"
        assert len(places) == sum(number for _, number in taken)
        assert len(places) <= max(limit, 20) + limit * (1 / 2 + 1 / 3 + 1 / 4) + limit * 3
    for one in taken:
        places.give_back(*one)
    assert (len(places), dict(places._callers), dict(places._flows)) == (0, {}, {})


def test_one_caller_may_take_all_places_and_others_still_get_in() -> None:
    places, greedy, quiet = QueuePlaces(100), Flow("greedy", "mood"), Flow("quiet", "mood")
    places.take(greedy, 100)
    assert not places.fit(greedy, 1)
    assert places.fit(quiet, 50)
    places.take(quiet, 50)
    assert not places.fit(quiet, 1)
    assert places.fit(Flow("third", "mood"), 33)
    places.give_back(greedy, 60)
    assert places.fit(greedy, 10)


def test_a_flood_of_one_deployment_leaves_room_for_another_one() -> None:
    places = QueuePlaces(100)
    places.take(Flow("anonymous", "mood"), 100)
    assert not places.fit(Flow("anonymous", "mood"), 1)
    assert places.fit(Flow("anonymous", "taste"), 50)


def test_a_call_of_any_size_fits_an_empty_queue() -> None:
    assert QueuePlaces(3).fit(Flow("a", "x"), 1000)
