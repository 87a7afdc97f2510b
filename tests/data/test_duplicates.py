"""Near duplicates are found by likeness, in time that grows with the rows."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.duplicates import MAX_CANDIDATES, NearDuplicates, jaccard
from hub.data.examples import Item
from tests.support.training import Labelling

TASK = Labelling()


def items_of(*texts: str, labels: str = "") -> list[Item]:
    return [
        Item({"text": text, "label": label, "tags": None}, json.dumps({"text": text}), "a", line)
        for line, (text, label) in enumerate(zip(texts, labels or "a" * len(texts), strict=True), 1)
    ]


def within(items: list[Item], threshold: float = 0.8) -> dict[int, int]:
    return NearDuplicates(items, threshold).within(items, TASK)


def test_likeness_is_the_share_of_common_pieces() -> None:
    assert jaccard("the same text", "The  SAME text!") == 1
    assert jaccard("abcdef", "abcdeg") == pytest.approx(1 / 3)
    assert jaccard("abc", "abd") == 0
    assert jaccard("?!", "?!") == 1 > jaccard("?!", "!?")


@given(st.text(max_size=20), st.text(max_size=20))
def test_likeness_goes_both_ways(first: str, second: str) -> None:
    assert 0 <= jaccard(first, second) == jaccard(second, first) <= 1
    assert jaccard(first, first) == 1


LONG = "the quick brown fox jumps over the lazy dog while the cat looks on"


def test_a_row_is_near_the_first_that_is_like_it() -> None:
    items = items_of(LONG, "something else altogether", f"{LONG}!", f"and {LONG}", LONG.upper())
    assert within(items) == {2: 0, 3: 0, 4: 0}


def test_rows_with_other_labels_are_no_duplicates() -> None:
    assert within(items_of(LONG, f"{LONG}!", f"{LONG}?", labels="aba")) == {2: 0}


def test_every_text_of_a_request_has_to_be_alike() -> None:
    def ask(question: str, context: str, line: int) -> Item:
        request = json.dumps({"question": question, "context": context, "top_k": 1})
        return Item({"text": "", "label": "a", "tags": None}, request, "a", line)

    items = [
        ask("Who jumps over the lazy dog here?", LONG, 1),
        ask("Which animal looks on from the side?", LONG, 2),
        ask("who jumps over the lazy dog here", LONG, 3),
        ask("Who jumps over the lazy dog here?", "Another text that says nothing of it.", 4),
    ]
    assert within(items) == {2: 0}


def test_held_out_rows_are_compared_whatever_their_labels() -> None:
    train = items_of("one thing that is said", LONG, labels="ab")
    held_out = items_of(f"{LONG}.", "nothing of the kind at all")
    assert NearDuplicates([*train, *held_out], 0.8).between(held_out, train) == {0: 1}


def test_the_result_does_not_depend_on_the_process() -> None:
    chance = random.Random(3)
    texts = ["".join(chance.choices("ab cd", k=30)) for _ in range(200)]
    assert within(items_of(*texts), 0.5) == within(items_of(*texts), 0.5)


@pytest.mark.parametrize("kind", ["random", "template"])
def test_the_time_grows_with_the_rows(kind: str) -> None:
    chance = random.Random(1)

    def text() -> str:
        if kind == "template":
            return f"order {chance.randrange(10**9)} was sent to warehouse {chance.randrange(10**6)} today"
        return " ".join("".join(chance.choices("abcdefghij", k=6)) for _ in range(8))

    def seconds(count: int) -> float:
        items = items_of(*(text() for _ in range(count)))
        started = time.process_time()
        within(items)
        return time.process_time() - started

    seconds(200)
    assert seconds(6 * 20 * MAX_CANDIDATES) < 6 * 3 * seconds(20 * MAX_CANDIDATES)


def test_known_near_duplicates_are_found() -> None:
    chance = random.Random(2)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(words, k=15)) for _ in range(1000)]
    items = items_of(*texts, *(f"{text}, so" for text in texts))
    found = within(items, 0.85)
    assert len(found) > 990
    assert all(other == index - 1000 for index, other in found.items())
