"""What a copy may lose or gain before its label can no longer be trusted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.augment.changes import CopyRules, broken_rule, delete, same_words, swap

WORDS = (
    "the",
    "food",
    "wasn't",
    "not",
    "good",
    "but",
    "very",
    "cheap",
    "in",
    "Paris",
    "12",
    "3.50",
    "never,",
)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
ALL = CopyRules(keep=("negation", "number", "name"))


@pytest.mark.parametrize(
    ("source", "copy", "reason"),
    [
        ("a slick, engrossing melodrama", "a smooth melodrama, engrossing", None),
        ("funny in the middle of sad", "funny not half the sad", "negation"),
        ("this was never good", "this was good", "negation"),
        ("the film isn't long", "the film is not long", None),
        ("cheap, but not good", "cheap, yet not good", None),
        ("it lasts 90 minutes", "it lasts minutes", "number"),
        ("it lasts 90 minutes", "it lasts 900 minutes", "number"),
        ("about 10 minutes of Paris by night", "about 10 minutes of town by night", "name"),
        ("about Paris by night", "ABOUT PARIS BY NIGHT", None),
        ("one two three four five", "six seven eight four five", None),
        ("one two three four five six", "six seven eight nine ten eleven", "words"),
        ("good", "good and cheap", "length"),
        ("good and cheap", "good", "length"),
        ("good", "", "length"),
    ],
)
def test_a_copy_is_dropped_for_what_it_lost_or_gained(source: str, copy: str, reason: str | None) -> None:
    assert broken_rule(source, copy, ALL) == reason


@pytest.mark.parametrize("kept", ["negation", "number", "name"])
def test_only_what_is_to_be_kept_is_looked_for(kept: str) -> None:
    source, copy = "we never saw 7 films in Paris", "we saw some more films in town"
    assert broken_rule(source, copy, CopyRules(keep=(kept,))) == kept
    assert broken_rule(source, copy, CopyRules(keep=())) is None


def test_the_first_word_of_a_sentence_is_no_name() -> None:
    assert broken_rule("Slow food. Good wine here", "slow food. A wine here", ALL) is None


@given(TEXTS)
def test_a_text_has_no_fault_beside_itself(text: str) -> None:
    assert broken_rule(text, text, ALL) is None
    assert same_words(text, f" {text.upper()} .")


@given(TEXTS, TEXTS)
def test_negations_and_numbers_are_looked_for_both_ways(one: str, other: str) -> None:
    rules = CopyRules(min_kept=0.0, length=100.0)
    assert broken_rule(one, other, rules) == broken_rule(other, one, rules)


@given(TEXTS, st.floats(0.01, 0.5), st.integers(0, 9))
def test_words_that_change_places_keep_everything(text: str, share: float, seed: int) -> None:
    rules = CopyRules(keep=("negation", "number"))
    assert broken_rule(text, swap(text, share, random.Random(seed)), rules) is None


@given(TEXTS, st.floats(0.01, 0.5), st.integers(0, 9))
def test_what_is_left_out_is_never_a_negation(text: str, share: float, seed: int) -> None:
    assert broken_rule(text, delete(text, share, random.Random(seed)), ALL) != "negation"


@given(TEXTS, TEXTS, st.floats(0, 1), st.floats(1, 3))
def test_stricter_rules_let_no_more_through(one: str, other: str, least: float, length: float) -> None:
    strict = CopyRules(min_kept=least, length=length, keep=("negation", "number", "name"))
    loose = CopyRules(min_kept=least / 2, length=length + 1, keep=())
    if broken_rule(one, other, strict) is None:
        assert broken_rule(one, other, loose) is None
