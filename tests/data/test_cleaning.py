"""Texts are cleaned by what the recipe says, and offsets follow what they pointed at."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.cleaning import Aligned, cleaner
from hub.recipe.sections.data import Clean

NOTHING = {"control": False, "unicode": "keep", "whitespace": False}


def cleaned(text: str, **rules: object) -> str:
    aligned = Aligned(text)
    cleaner(Clean(**{**NOTHING, **rules}))(aligned)  # type: ignore[arg-type]
    return aligned.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold</b> and <a href='x'>link</a>", "bold and link"),
        ("one<br/>two<p class=x>three</p>", "one\ntwo\nthree\n"),
        ("a<!-- <b>no</b> -->b<script>x < y</script>c<STYLE>p{}</STYLE>", "abc"),
        ("<!DOCTYPE html><html>x</html>", "x"),
        ("1 < 2 and 3 > 2, i <3 you, <-", "1 < 2 and 3 > 2, i <3 you, <-"),
        ("<preview>a</preview>", "a"),
    ],
)
def test_tags_go_and_signs_stay(text: str, expected: str) -> None:
    assert cleaned(text, html=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a &amp; b &lt;c&gt; &#233;&#xe9; &nbsp;", "a & b <c> éé \xa0"),
        ("&unknown; & AT&T; R&D", "&unknown; & AT&T; R&D"),
    ],
)
def test_entities_become_characters(text: str, expected: str) -> None:
    assert cleaned(text, entities=True) == expected


def test_control_characters_go_and_joiners_stay() -> None:
    assert cleaned("a\x00b\u200bc\ufeff\u202ed\u00ade\tf\n", control=True) == "abcde\tf\n"
    family, persian = "\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e"
    assert cleaned(family + persian, control=True) == family + persian


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("NFC", "cafe\u0301 ﬁ \uff21", "café ﬁ \uff21"),
        ("NFKC", "cafe\u0301 ﬁ \uff21", "café fi A"),
        ("NFC", "\u1112\u1161\u11ab", "한"),
        ("keep", "cafe\u0301", "cafe\u0301"),
    ],
)
def test_unicode_form(rule: str, text: str, expected: str) -> None:
    assert cleaned(text, unicode=rule) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a \t b\xa0c  ", "a b c"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\n\nb \n \n\n c", "a\n\nb\n\nc"),
        (" \n ", ""),
    ],
)
def test_whitespace_is_one_space_and_lines_stay(text: str, expected: str) -> None:
    assert cleaned(text, whitespace=True) == expected


def test_urls_are_masked_or_dropped() -> None:
    text = "see https://a.b/c?d=(e), www.x.org. not a.b"
    assert cleaned(text, urls="mask") == "see <URL>), <URL>. not a.b"
    assert cleaned(text, urls="drop") == "see ), . not a.b"
    assert cleaned(text) == text


def test_what_changed_a_text_is_named() -> None:
    clean = cleaner(Clean(html=True, entities=True))
    assert clean(Aligned("plain")) == ()
    assert clean(Aligned("<b>x</b>  y")) == ("html", "whitespace")
    assert clean(Aligned("e\u0301\x00")) == ("control", "unicode")


@pytest.mark.parametrize(
    "text", ["<!--" * 20_000, "<script>" * 12_000, "<" * 100_000, "&" * 100_000, "<p " * 60_000]
)
def test_openings_without_an_end_take_no_quadratic_time(text: str) -> None:
    started = time.thread_time()
    cleaned(text, html=True, entities=True, urls="drop", whitespace=True)
    assert time.thread_time() - started < 5


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \t\n<>&;e\u0301\u200b\u1161"), max_size=40))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = cleaned(text, control=True, unicode="NFC", whitespace=True)
    assert cleaned(once, control=True, unicode="NFC", whitespace=True) == once


@given(st.text(st.characters(codec="utf-8", exclude_categories=("M",)), max_size=30))
def test_a_text_without_marks_gets_its_form_whole(text: str) -> None:
    assert cleaned(text, unicode="NFC") == unicodedata.normalize("NFC", text)


@given(st.text("ab <>x", max_size=20), st.data())
def test_offsets_follow_the_characters_that_stay(text: str, data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    aligned = Aligned(text)
    aligned.replace((at, at + 1, "") for at, stays in enumerate(keep) if not stays)
    assert aligned.text == "".join(char for char, stays in zip(text, keep, strict=True) if stays)
    for at, stays in enumerate(keep):
        start, end = aligned.moved(at, at + 1)
        assert aligned.text[start:end] == (text[at] if stays else "")


def test_a_part_that_cuts_into_a_replacement_has_all_of_it() -> None:
    aligned = Aligned("call 555 1234 now")
    aligned.replace([(5, 13, "<PHONE>")])
    aligned.replace([(0, 5, "")])
    assert aligned.text == "<PHONE> now"
    assert aligned.moved(9, 17) == (0, 11)
    assert aligned.moved(0, 8) == (0, 7)
    assert aligned.moved(14, 17) == (8, 11)
