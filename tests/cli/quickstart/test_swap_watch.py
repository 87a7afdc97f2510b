"""`hub quickstart` finds every kind of wrong answer during a swap."""

from __future__ import annotations

from hub.cli.quickstart.swap_watch import SwapAnswer, SwapWatch

OLD = {"fine": {"negative": 0.1, "positive": 0.9}}
NEW = {"fine": {"negative": 0.4, "positive": 0.6}}
EXPECTED = {"a@1": OLD, "a@2": NEW}


def outcome(*answers: SwapAnswer, since: float = 10.0):
    return SwapWatch("http://unused", "a", ["fine"], answers=list(answers)).result(EXPECTED, "a@2", since)


def test_right_answers_of_either_version_are_right() -> None:
    result = outcome(
        SwapAnswer("fine", 1.0, 0.01, "a@1", OLD["fine"]),
        SwapAnswer("fine", 11.0, 0.03, "a@2", {"negative": 0.4001, "positive": 0.5999}),
    )
    assert (result.sent, result.failed, result.wrong) == (2, 0, 0)
    assert result.by_version == {"a@1": 1, "a@2": 1}
    assert round(result.median_ms) == 20
    assert round(result.slowest_ms) == 30


def test_scores_of_another_version_than_the_named_one_are_wrong() -> None:
    assert outcome(SwapAnswer("fine", 1.0, 0.01, "a@1", NEW["fine"])).wrong == 1


def test_the_old_version_after_the_swap_is_wrong() -> None:
    assert outcome(SwapAnswer("fine", 11.0, 0.01, "a@1", OLD["fine"])).wrong == 1


def test_an_unknown_version_is_wrong() -> None:
    assert outcome(SwapAnswer("fine", 1.0, 0.01, "a@3", OLD["fine"])).wrong == 1


def test_a_failed_request_is_counted_as_failed_only() -> None:
    result = outcome(SwapAnswer("fine", 1.0, 0.01))
    assert (result.sent, result.failed, result.wrong) == (1, 1, 0)
