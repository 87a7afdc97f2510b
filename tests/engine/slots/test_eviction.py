"""GreedyDual: the order of eviction, and that the clock of it never goes back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.engine.slots.eviction import GreedyDual

KEYS = st.sampled_from("abcdefgh")
COSTS = st.sampled_from([0.0, 0.25, 1.0, 3.0])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, COSTS),
        st.tuples(st.just("use"), KEYS),
        st.tuples(st.just("remove"), KEYS),
        st.tuples(st.just("evict"), st.sets(KEYS, max_size=3)),
    ),
    max_size=80,
)


def anyone(key: str) -> bool:
    return True


def test_with_equal_costs_the_least_recently_used_goes_first() -> None:
    order = GreedyDual()
    for key in "abc":
        order.add(key, 1.0)
    order.use("a")
    assert list(order.order()) == ["b", "c", "a"]
    assert [order.evict(anyone) for _ in range(4)] == ["b", "c", "a", None]


def test_what_was_in_use_when_others_left_does_not_turn_the_clock_back() -> None:
    order = GreedyDual()
    order.add("held", 1.0)
    order.add("dear", 7.0)
    assert order.evict(lambda key: key != "held") == "dear"
    order.add("kept", 5.0)  # worth 12
    assert order.evict(anyone) == "held"  # worth 1
    order.add("new", 6.0)  # worth 13
    assert [order.evict(anyone), order.evict(anyone)] == ["kept", "new"]


def test_what_is_added_and_removed_over_and_over_takes_no_room() -> None:
    order = GreedyDual()
    order.add("stays", 1.0)
    for _ in range(10_000):
        order.add("comes and goes", 0.5)
        order.remove("comes and goes")
    assert len(order._heap) < 100
    assert order.evict(anyone) == "stays"


@settings(max_examples=200, deadline=None)
@given(CALLS)
def test_it_evicts_what_a_look_at_every_version_would(calls) -> None:
    order, cost, worth, floor = GreedyDual(), {}, {}, 0.0
    for clock, (call, given_to, *rest) in enumerate(calls):
        match call:
            case "add" if given_to not in worth:
                cost[given_to] = rest[0]
                order.add(given_to, rest[0])
                worth[given_to] = (floor + rest[0], clock)
            case "use" if given_to in worth:
                order.use(given_to)
                worth[given_to] = (floor + cost[given_to], clock)
            case "remove":
                order.remove(given_to)
                worth.pop(given_to, None)
            case "evict":
                may = worth.keys() - given_to
                expected = min(may, key=worth.__getitem__, default=None)
                assert order.evict(may.__contains__) == expected
                if expected:
                    floor = max(floor, worth.pop(expected)[0])
        assert list(order.order()) == sorted(worth, key=worth.__getitem__)
