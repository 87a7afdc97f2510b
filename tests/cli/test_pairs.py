"""KEY=VALUE arguments."""

from __future__ import annotations

import pytest

from hub.cli.pairs import json_pairs, pairs
from hub.errors import BadRequest


def test_the_value_is_all_after_the_first_equals_sign() -> None:
    assert pairs(["text=a=b", "label=kind", "label=class"], "--column") == {"text": "a=b", "label": "class"}
    assert pairs(None, "--column") == {}


@pytest.mark.parametrize("text", ["text", "=kind", "text=", ""])
def test_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(BadRequest, match=rf"^--column {text}: write FIELD=COLUMN\.$"):
        pairs([text], "--column", "FIELD=COLUMN")


def test_an_empty_value_is_taken_where_it_means_something() -> None:
    assert pairs(["text="], "--field", empty=True) == {"text": ""}


def test_values_are_json_where_they_can_be() -> None:
    given = ["a=1", "b=true", "c=[1, 2]", "d=.95", "e=no"]
    assert json_pairs(given, "--guard") == {"a": 1, "b": True, "c": [1, 2], "d": ".95", "e": "no"}
