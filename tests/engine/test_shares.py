"""Fair shares: proportional to weights, without credit for idle time, at two levels."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from hub.engine.shares import Flow, FlowShares, Shares

weights = st.sampled_from([0.5, 1.0, 2.0, 5.0])
costs = st.integers(1, 40)


@given(st.lists(weights, min_size=2, max_size=6), st.lists(costs, min_size=6, max_size=6))
def test_service_is_in_proportion_to_the_weights(of_members, cost_of) -> None:
    shares: Shares[int] = Shares()
    served: Counter[int] = Counter()
    for member in range(len(of_members)):
        shares.join(member)
    for _ in range(400):
        member = shares.next()
        shares.charge(member, cost_of[member] / of_members[member])
        served[member] += cost_of[member]
    most = max(cost / weight for cost, weight in zip(cost_of, of_members, strict=False))
    fair = [served[member] / weight for member, weight in enumerate(of_members)]
    assert max(fair) - min(fair) <= 2 * most, "nobody is ahead by more than an item of each"


steps = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "serve"]), st.integers(0, 4), costs), max_size=80
)


@given(steps)
def test_members_that_come_and_go_join_at_the_service_in_progress(taken) -> None:
    shares: Shares[int] = Shares()
    in_progress = 0.0  # what the member served last had spent before
    for step, member, cost in taken:
        active = set(shares)
        if step == "join":
            shares.join(member)
            if not active:
                in_progress = 0.0
            elif member not in active:
                assert shares.spent(member) >= in_progress
        elif step == "leave" and member in active:
            shares.leave(member)
        elif step == "serve" and active:
            served = shares.next()
            before = in_progress = shares.spent(served)
            assert before == min(shares.spent(other) for other in active)
            shares.charge(served, cost)
            assert shares.spent(served) == before + cost
        assert len(shares._idle) <= 5
    for member in set(shares):
        shares.leave(member)
    assert (shares._idle, shares._now) == ({}, 0.0), "nothing is kept of those that are gone"


def test_one_that_was_served_and_comes_back_at_once_is_not_served_before_the_others() -> None:
    shares: Shares[str] = Shares()
    shares.join("quiet"), shares.join("greedy")
    shares.charge("greedy", 10.0)
    shares.leave("greedy")
    shares.join("greedy")
    assert shares.next() == "quiet"
    shares.charge("quiet", 9.0)
    assert shares.next() == "quiet"


def test_a_newcomer_is_served_before_one_that_is_being_served() -> None:
    shares: Shares[str] = Shares()
    shares.join("greedy")
    for _ in range(3):
        shares.charge("greedy", 10.0)
    for _ in range(2):
        shares.join("quiet")
        assert shares.next() == "quiet"
        shares.charge("quiet", 1.0), shares.charge("greedy", 10.0)
        shares.leave("quiet")


flows = st.builds(
    Flow, st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y", "z"]), st.sampled_from([1.0, 2.0])
)


@given(st.dictionaries(flows, st.lists(costs, min_size=1, max_size=30), min_size=1, max_size=8))
def test_the_order_has_every_item_once_in_the_order_of_its_flow(items) -> None:
    shares = FlowShares()
    for flow in items:
        shares.join(flow)
    found = list(shares.order(lambda flow: ((cost, (flow, n)) for n, cost in enumerate(items[flow]))))
    assert len(found) == sum(map(len, items.values()))
    for flow, its_costs in items.items():
        assert [(cost, n) for cost, (of, n) in found if of == flow] == [
            (cost, n) for n, cost in enumerate(its_costs)
        ]
    first = found[0][1][0]
    assert first == shares.next()


def test_a_caller_gets_no_larger_share_with_many_deployments() -> None:
    shares = FlowShares()
    many, one = [Flow("greedy", str(n)) for n in range(8)], Flow("quiet", "mood")
    for flow in [*many, one]:
        shares.join(flow)
    order = shares.order(lambda flow: ((1.0, flow) for _ in range(100)))
    served = Counter(flow.caller for _, flow in islice(order, 100))
    assert abs(served["greedy"] - served["quiet"]) <= 1


def test_the_weight_of_a_caller_is_its_share_and_its_deployments_are_equal() -> None:
    shares = FlowShares()
    for flow in (Flow("a", "x", 3.0), Flow("a", "y", 3.0), Flow("b", "x", 1.0)):
        shares.join(flow)
    order = shares.order(lambda flow: ((1.0, flow) for _ in range(400)))
    served = Counter(flow for _, flow in islice(order, 400))
    assert [served[flow] for flow in sorted(served)] == [150, 150, 100]
