"""A bad canary is rolled back for each of its limits, a good one is promoted, and luck decides neither."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.serving.canary.analysis import CanaryAnalysis, Rated, analyze, wilson
from hub.store.catalog.counters import TrialCounts
from hub.store.guard import Guard

PATIENCE = 20_000  # requests


def stream(
    guard: Guard,
    seed: int,
    *,
    fails: float = 0.0,
    slow: float = 0.0,
    differs: float = 0.0,
    most: int = PATIENCE,
) -> tuple[CanaryAnalysis, int, str]:
    """Judge after every ten requests of a canary, as time goes by a second each; return the first move."""
    luck, counter = random.Random(seed), TrialCounts()
    said = ""
    for number in range(1, most + 1):
        if luck.random() < fails:
            counter.fail()
        else:
            counter.answer(0.2 if luck.random() < slow else 0.01)
            counter.compare(luck.random() >= differs)
        if number % 10 == 0:
            analysis, said = analyze(guard, counter, number / 60)
            if analysis is not CanaryAnalysis.WAIT:
                return analysis, number, said
    return CanaryAnalysis.WAIT, most, said


@pytest.mark.parametrize(
    ("limit", "bad", "said"),
    [
        ({"error_rate": 0.01}, {"fails": 0.05}, r"^error rate 0\.\d+ above 0\.01 over \d+ requests$"),
        ({"p99_ms": 80}, {"slow": 0.05}, r"^p99 [12]\d\d ms above 80 ms over \d+ answers$"),
        ({"agreement": 0.95}, {"differs": 0.15}, r"^agreement 0\.[78]\d* under 0\.95 over \d+ requests$"),
    ],
)
def test_a_bad_canary_is_rolled_back_soon_and_a_good_one_promoted(limit, bad, said) -> None:
    guard = Guard(**limit)
    for seed in range(30):
        analysis, after, reason = stream(guard, seed, **bad)
        assert analysis is CanaryAnalysis.ROLLBACK
        assert 100 <= after <= 1500
        assert re.match(said, reason), reason
        good = {name: rate / 50 for name, rate in bad.items()}
        analysis, after, reason = stream(guard, seed, **good)
        assert analysis is CanaryAnalysis.PROMOTE, reason
        assert after >= 600, "ten minutes"


def test_a_canary_at_its_limit_is_hardly_ever_rolled_back_however_often_one_looks() -> None:
    guard = Guard(error_rate=0.02, agreement=0.95, promote=False)
    wrongly = [
        stream(guard, seed, fails=0.02, differs=0.05, most=3000)[0] is CanaryAnalysis.ROLLBACK
        for seed in range(200)
    ]
    assert sum(wrongly) <= 6, "two limits, each at most 1 % in the long run"


@given(st.integers(0, 99), st.integers(0, 99))
def test_nothing_is_decided_on_few_requests(requests: int, errors: int) -> None:
    counter = TrialCounts(requests=requests, errors=min(errors, requests))
    assert analyze(Guard(error_rate=0.0), counter, 1e6)[0] is CanaryAnalysis.WAIT


@pytest.mark.parametrize("limit", [{"agreement": 0.5}, {"accuracy": 0.1}, {"p99_ms": 10_000.0}])
def test_nothing_is_promoted_on_a_limit_that_was_not_measured(limit) -> None:
    counter = TrialCounts(requests=10_000, errors=10_000)
    analysis, reason = analyze(Guard(**limit), counter, 1e6)
    assert analysis is CanaryAnalysis.WAIT
    assert "0 of" in reason


def test_agreement_is_unknown_where_nothing_could_be_compared() -> None:
    counter = TrialCounts(requests=0)
    for _ in range(120):
        counter.answer(0.01)
    analysis, said = analyze(Guard(agreement=0.9), counter, 60, Rated(0, 0), Rated(0, 0))
    assert analysis is CanaryAnalysis.WAIT
    assert said.startswith("agreement is unknown: none of 120 answers could be compared")


def test_nothing_is_promoted_before_its_time_or_where_people_do_it() -> None:
    counter = TrialCounts(requests=1000)
    assert analyze(Guard(error_rate=0.1, minutes=5), counter, 4.9) == (
        CanaryAnalysis.WAIT,
        "4.9 of 5 minutes",
    )
    assert analyze(Guard(error_rate=0.1, minutes=5), counter, 5)[0] is CanaryAnalysis.PROMOTE
    left = analyze(Guard(error_rate=0.1, promote=False), counter, 1e6)
    assert left == (CanaryAnalysis.WAIT, "within every limit; promotion is manual")


def test_one_broken_limit_is_enough_and_all_that_are_broken_are_named() -> None:
    counter = TrialCounts(requests=1000, errors=500, compared=500, agreed=100)
    analysis, reason = analyze(Guard(error_rate=0.1, agreement=0.9, accuracy=0.1), counter, 0)
    assert analysis is CanaryAnalysis.ROLLBACK
    assert reason == "error rate 0.5 above 0.1 over 1000 requests; agreement 0.2 under 0.9 over 500 requests"


def accuracy(labelled: int, correct: int, stable: Rated, **more: float) -> tuple[CanaryAnalysis, str]:
    guard = Guard(accuracy=0.05, minutes=0, **more)
    return analyze(guard, TrialCounts(requests=1000), 1, Rated(labelled, correct), stable)


def test_a_few_unlucky_labels_do_not_roll_back() -> None:
    good = Rated(400, 360)
    assert accuracy(3, 0, good)[0] is CanaryAnalysis.WAIT, "three wrong of three"
    assert accuracy(10, 7, good, labels=10)[0] is CanaryAnalysis.WAIT, (
        "three wrong of ten, where ten are enough"
    )
    assert accuracy(50, 40, good)[0] is CanaryAnalysis.WAIT, "0.8 where 0.9 is usual, of 50"


def test_surely_fewer_right_answers_roll_back_and_as_many_promote() -> None:
    good = Rated(400, 360)
    analysis, reason = accuracy(100, 60, good)
    assert analysis is CanaryAnalysis.ROLLBACK
    assert reason == "accuracy 0.6 under 0.9 of the stable version less 0.05 over 100 and 400 labels"
    assert accuracy(100, 88, good)[0] is CanaryAnalysis.PROMOTE, "within the allowance"
    assert accuracy(49, 49, good) == (CanaryAnalysis.WAIT, "49 of 50 labels on answers of the canary")
    assert accuracy(100, 99, Rated(3, 3)) == (
        CanaryAnalysis.WAIT,
        "3 of 50 labels on answers of the stable version",
    )


def test_an_equal_canary_is_hardly_ever_rolled_back_by_labels() -> None:
    guard = Guard(accuracy=0.0, promote=False, labels=20)
    wrongly = 0
    for seed in range(200):
        luck = random.Random(seed)
        mine = others = 0
        for number in range(1, 1001):
            mine += luck.random() < 0.85
            others += luck.random() < 0.85
            rated, stable = Rated(number, mine), Rated(number, others)
            if (
                number % 5 == 0
                and analyze(guard, TrialCounts(requests=1000), 1, rated, stable)[0] is CanaryAnalysis.ROLLBACK
            ):
                wrongly += 1
                break
    assert wrongly <= 8, "four in a hundred"


@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_holds_the_share_and_stays_within_0_and_1(of: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, of))
    low, high = wilson(correct, of)
    assert 0 <= low <= correct / of <= high <= 1
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)  # Brown, Cai and DasGupta 2001
    assert wilson(0, 0) == (0, 1)
