"""Kept answers and their labels, on both kinds of catalog."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.store.catalog.catalog import Catalog
from hub.store.catalog.feedback import Answers, StoredAnswer, VersionScore

NOW = datetime.now(UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def answers(request, tmp_path) -> Iterator[Answers]:
    on_postgres = request.param == "postgres"
    catalog = Catalog(request.getfixturevalue("postgres_url") if on_postgres else tmp_path / "catalog.db")
    yield Answers(catalog)
    catalog.close()


def answer(
    id: str, version: int = 1, age: timedelta = timedelta(), deployment: str = "shop", **more: Any
) -> StoredAnswer:
    response = '{"label": "a"}'
    return StoredAnswer(id, deployment, f"x@{version}", f"{version}" * 64, NOW - age, response, **more)


def same(response: dict[str, Any], label: Any) -> bool:
    return bool(response["label"] == label)


def test_labels_are_counted_by_version_and_the_latest_comes_first(answers: Answers) -> None:
    answers.keep([answer("r1"), answer("r2", age=timedelta(hours=1)), answer("r3", 2, timedelta(minutes=1))])
    assert answers.label("r1", "a", same).correct
    assert not answers.label("r3", "b", same).correct
    assert answers.scores("shop") == [
        VersionScore("shop", "x@1", "1" * 64, 2, 1, 1),
        VersionScore("shop", "x@2", "2" * 64, 1, 1, 0),
    ]
    assert answers.rated("shop", NOW - timedelta(minutes=5)) == {"1" * 64: (1, 1), "2" * 64: (1, 0)}
    assert answers.rated("shop", NOW - timedelta(seconds=5)) == {"1" * 64: (1, 1)}
    assert answers.scores("other") == []


def test_a_label_given_again_takes_the_place_of_the_first(answers: Answers) -> None:
    answers.keep([answer("r1")])
    answers.label("r1", "b", same)
    answers.label("r1", "a", same)
    assert [(score.labelled, score.correct) for score in answers.scores()] == [(1, 1)]


def test_an_answer_that_is_not_kept_has_no_label(answers: Answers) -> None:
    assert answers.label("unknown", "a", same) is None


def test_an_id_used_again_is_the_newer_answer_without_the_label_of_the_older(answers: Answers) -> None:
    answers.keep([answer("r1", 1)])
    answers.label("r1", "a", same)
    answers.keep([answer("r1", 2), answer("r1", 3)])
    assert answers.scores() == [VersionScore("shop", "x@3", "3" * 64, 1, 0, 0)]


def test_what_was_labelled_is_read_back_oldest_first(answers: Answers) -> None:
    text = '{"text": "Grüße \\u0000"}'
    answers.keep([answer("r1"), answer("r2", age=timedelta(hours=1), request=text), answer("r3")])
    for id, label in (("r1", ["a", "b"]), ("r2", {"answer": "ä"})):
        answers.label(id, label, lambda response, label: False)
    found = list(answers.labelled("shop"))
    assert [(one.answer.request_id, one.answer.request, one.label) for one in found] == [
        ("r2", text, {"answer": "ä"}),
        ("r1", None, ["a", "b"]),
    ]


def test_the_old_and_the_too_many_are_removed_with_their_labels(answers: Answers) -> None:
    answers.keep([answer(f"r{hours:02}", age=timedelta(hours=hours)) for hours in range(48)])
    answers.label("r40", "a", same)
    for days in (30, 1_000_000, 1e300, math.inf):
        assert answers.prune(days=days, rows=48) == 0
    assert answers.prune(days=1, rows=48) == 24
    assert answers.prune(days=1, rows=10) == 14
    assert [(score.answers, score.labelled) for score in answers.scores()] == [(10, 0)]
    assert answers.label("r09", "a", same)
    assert answers.label("r10", "a", same) is None


def test_clearing_takes_one_deployment_or_all(answers: Answers) -> None:
    answers.keep([answer("r1"), answer("r2"), answer("r3", deployment="desk")])
    answers.label("r1", "a", same)
    assert answers.clear("shop") == 2
    assert [score.deployment for score in answers.scores()] == ["desk"]
    assert answers.clear() == 1
    assert answers.scores() == []


def test_answers_are_bounded_in_bytes_with_their_requests(answers: Answers) -> None:
    """Non-ASCII characters count as the bytes they take."""
    answers.keep([answer(f"r{hour}", age=timedelta(hours=hour), request="é" * 5_000) for hour in range(8)])
    assert answers.prune(days=30, rows=100, most_bytes=100_000) == 0
    assert answers.prune(days=30, rows=100, most_bytes=35_000) == 5
    assert [answers.label(f"r{hour}", "a", same) is not None for hour in range(4)] == [True] * 3 + [False]
