"""A list that is written out in a cell is read as that list, or refused, and never split at a mark."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.read.cell_lists import UnreadableList, is_missing, literal, literal_list, split_cell

words = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=8)


@given(words)
def test_a_list_is_read_back_as_json_and_python_write_it(items: list[str]) -> None:
    for written in (json.dumps(items), json.dumps(items, ensure_ascii=False), str(items)):
        assert literal_list(written) == items
        assert split_cell(written, None, ",") == items
        assert split_cell(written, ",", None) == items
    if len(items) > 1:
        assert literal_list(str(tuple(items))) == items


@given(st.lists(st.text("abc'\" ,", max_size=6), min_size=1, max_size=8))
def test_an_array_that_numpy_printed_is_read_back(items: list[str]) -> None:
    assert literal_list(str(np.array(items, dtype=object))) == items


def test_numbers_that_numpy_printed_are_read_back() -> None:
    assert literal_list(str(np.array([0, -1, 2]))) == [0, -1, 2]


def test_an_array_that_numpy_shortened_is_refused() -> None:
    with pytest.raises(UnreadableList, match="abbreviated"):
        literal_list(str(np.array(["a"] * 2000)))


@pytest.mark.parametrize("text", ["", "[", "a, b", "[other]", "(see below)", "(Paris, France)", "{x}", "[]x"])
def test_a_text_that_is_no_list_stays_one(text: str) -> None:
    assert literal_list(text) is None


@pytest.mark.parametrize("text", ["[a, b]", "{a,b}", "['a', b]"])
def test_a_list_that_cannot_be_told_apart_is_refused(text: str) -> None:
    with pytest.raises(UnreadableList):
        split_cell(text, None, ",")


@pytest.mark.parametrize(
    ("text", "separator", "default", "parts"),
    [
        ("a, b", None, ",", ["a", "b"]),
        ("a|b c", "|", ",", ["a", "b c"]),
        ("a; b", ";", ",", ["a", "b"]),
        ("a,b; c", ";", ",", ["a,b", "c"]),
        ("in  Oslo\t.", None, None, ["in", "Oslo", "."]),
        ("10\u00a0000 Oslo", None, None, ["10\u00a0000", "Oslo"]),
        ("{a,b}", ",", None, ["{a", "b}"]),
    ],
)
def test_words_between_separators(text: str, separator: str | None, default: str | None, parts) -> None:
    assert split_cell(text, separator, default) == parts


@given(st.text("[](){}'\", abc0.-\\", max_size=40))
def test_any_text_is_a_list_or_not_or_refused(text: str) -> None:
    try:
        found = literal_list(text)
    except UnreadableList:
        return
    assert found is None or isinstance(found, list)


def test_deep_nesting_is_no_list() -> None:
    assert literal_list("[" * 100_000 + "]" * 100_000) is None


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        (None, True),
        (float("nan"), True),
        ("nan", True),
        (" NaN ", True),
        ("<NA>", True),
        ("", False),
        ("none", False),
        ("banana", False),
        (0.0, False),
        (False, False),
    ],
)
def test_what_counts_as_missing(value: Any, missing: bool) -> None:
    assert is_missing(value) is missing


def test_objects_are_read_as_json_and_python_write_them() -> None:
    value = {"start": [1], "label": ["O'Hara"]}
    assert literal(json.dumps(value)) == literal(str(value)) == value
    with pytest.raises(UnreadableList):
        literal("{")
