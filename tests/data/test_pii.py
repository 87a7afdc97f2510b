"""Personal data is found by kind, checked where it has check digits, and never told by value."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.pii import BUILTIN_KINDS, builtin, make_detector
from hub.errors import BadRecipe, MissingExtra
from hub.recipe.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


def found(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in builtin(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to a.b+c@mail.example.org.", [("EMAIL", "a.b+c@mail.example.org")]),
        ("a@b.co, c@d.de", [("EMAIL", "a@b.co"), ("EMAIL", "c@d.de")]),
        ("card 4111 1111 1111 1111.", [("CARD", "4111 1111 1111 1111")]),
        ("378282246310005", [("CARD", "378282246310005")]),
        ("to DE89 3704 0044 0532 0130 00 NOW OR LATER", [("IBAN", "DE89 3704 0044 0532 0130 00")]),
        ("GB82WEST12345698765432", [("IBAN", "GB82WEST12345698765432")]),
        ("from 10.0.0.1, 2001:db8::1 and ::1", [("IP", "10.0.0.1"), ("IP", "2001:db8::1"), ("IP", "::1")]),
        ("+1 (415) 555-2671", [("PHONE", "+1 (415) 555-2671")]),
        ("+44 20 7946 0958 or (415) 555-2671", [("PHONE", "+44 20 7946 0958"), ("PHONE", "(415) 555-2671")]),
        ("Tel. 030 / 1234567, 06 12 34 56 78", [("PHONE", "030 / 1234567"), ("PHONE", "06 12 34 56 78")]),
    ],
)
def test_what_is_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # Luhn
        "1234567890123452",  # no issuer
        "GB82WEST12345698765433",  # mod 97
        "999.1.1.1 and 1.2.3.4.5",
        "std::vector, 12:30:45, a @ b",
        "from 1999-2000, on 02-03-2003 or 2001-02-03, 1,000,000 of 100 200 300",
        "shares rose 12.50 to 104.25; 3-1 in 2004; ISBN 978-3-16-148410-0",
        "order 123456789",
    ],
)
def test_what_is_none(text: str) -> None:
    assert found(text) == []


@given(st.text("0123456789 -+()@.:aBDE/", max_size=60))
def test_findings_are_in_order_and_apart(text: str) -> None:
    last = 0
    for one in builtin(text):
        assert last <= one.start < one.end <= len(text)
        assert one.kind in BUILTIN_KINDS
        last = one.end


@given(st.text("0123456789", min_size=15, max_size=15))
def test_luhn(digits: str) -> None:
    number = f"4{digits[:14]}"
    hits = [last for last in "0123456789" if found(f"{number}{last}")]
    assert len(hits) == 1


def test_only_the_kinds_named_are_looked_for(make_recipe: RecipeMaker) -> None:
    find = make_detector(make_recipe("task: t\ndata: {source: a, pii: {action: mask, kinds: EMAIL}}\n"))
    assert find is not None
    assert [one.kind for one in find("a@b.co 10.0.0.1")] == ["EMAIL"]
    assert make_detector(make_recipe("task: t\ndata: {source: a, pii: ignore}\n")) is None
    with pytest.raises(BadRecipe, match=r"kinds.0: 'NAME' is not a kind. Available: EMAIL, IBAN"):
        make_detector(make_recipe("task: t\ndata: {source: a, pii: {kinds: NAME}}\n"))


PRESIDIO = "task: t\ndata: {source: a, pii: {action: mask, detector: presidio}}\n"


def test_without_the_extra_the_message_names_it(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    monkeypatch.delitem(sys.modules, "hub.data.presidio", raising=False)
    with pytest.raises(MissingExtra, match=r"grafthub\[pii\]"):
        make_detector(make_recipe(PRESIDIO))


def test_presidio_finds_what_it_finds_without_a_model_or_the_network(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    find = make_detector(make_recipe(PRESIDIO))
    assert find is not None
    text = "a.b@example.com, +1 (415) 555-2671, 4111 1111 1111 1111, http://example.com/x, in 2004"
    with caplog.at_level(logging.WARNING):
        assert [one.kind for one in find(text)] == ["EMAIL", "PHONE", "CARD"]
    assert caplog.records == []


def test_presidio_finds_names_by_a_spacy_model(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}])
    pipeline.to_disk(tmp_path / "model")
    find = make_detector(make_recipe(PRESIDIO, "data.pii.model=model"))
    assert find is not None
    assert [tuple(one) for one in find("by Ada Lovelace")] == [(3, 15, "PERSON")]
    with pytest.raises(BadRecipe, match=r"data.pii.model: 'absent' is neither an installed spaCy model"):
        make_detector(make_recipe(PRESIDIO, "data.pii.model=absent"))


def test_a_model_is_for_presidio(make_recipe: RecipeMaker) -> None:
    with pytest.raises(BadRecipe, match="model needs the detector presidio"):
        make_recipe("task: t\ndata: {source: a, pii: {model: en_core_web_sm}}\n")
