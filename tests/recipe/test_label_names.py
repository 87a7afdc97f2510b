"""Names of labels that look the same are one, and names that differ by a little are found."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.recipe.label_names import look_alike, look_alikes, normal_label


@given(st.text())
def test_every_form_of_a_name_has_one_normal_form(name: str) -> None:
    normal = normal_label(name)
    assert normal_label(normal) == normal
    assert normal_label(unicodedata.normalize("NFD", name)) == normal_label(
        unicodedata.normalize("NFC", name)
    )


@pytest.mark.parametrize(
    "names", [("Good", "good"), ("1", "1.0"), ("True", "true"), ("\uff21", "A"), ("STRASSE", "stra\u00dfe")]
)
def test_names_that_a_reader_takes_for_one(names: tuple[str, str]) -> None:
    assert look_alikes([*names, "other"]) == [names]
    assert look_alike(names[0], ["other", names[1]]) == names[1]


@pytest.mark.parametrize("names", [("good", "bad"), ("1", "10"), ("a-b", "a b"), ("nan", "inf")])
def test_names_that_are_not_alike(names: tuple[str, str]) -> None:
    assert look_alikes(names) == []
    assert look_alike(names[0], [names[1]]) is None
