"""A look at data finds what a person would want to know before training, and quotes no text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.profile.anomalies import TextSample, anomaly_detector, languages, very_long
from hub.data.profile.profile import Profile, profile
from hub.data.profile.sniff import sniff
from hub.errors import BadData
from hub.report.profile_page import page

ROWS = """\
id,body,mood
1,the film of paris was a very good one indeed,good
2,the film of paris was a very good one indeed,good
3,the film of paris was a very good one indeed,bad
4,The film of Paris was a very good one indeed!,good
5,<b>terrible</b> book &amp; worse film than ever,bad
6,call me at +1 212 555 0187 or bob@example.org please,bad
7,C'Ã©tait un trÃ¨s beau film que j'ai beaucoup aimÃ© hier,good
8,,bad
9,c'était un très beau film que nous avons beaucoup aimé hier soir,good
10,a short one that has no label at all,
11,too,many,cells
"""
EXPECTED = {
    "the same as an earlier row": ["3"],
    "nearly the same as an earlier row (near_duplicates)": ["5"],
    "another row has the same request and another label (labels.conflicts)": ["2", "4"],
    "HTML tags (clean.html)": ["6"],
    "HTML entities (clean.entities)": ["6"],
    "personal data: PHONE (pii)": ["7"],
    "personal data: EMAIL (pii)": ["7"],
    "broken characters (decoded with the wrong encoding)": ["8"],
    "empty text": ["9"],
    "no label": ["11"],
    "cannot be read: has 4 cells where the header has 3": ["12"],
}


@pytest.fixture
def found(tmp_path: Path) -> Profile:
    (tmp_path / "a.csv").write_text(ROWS, encoding="utf-8")
    return profile(sniff("a.csv", tmp_path, tmp_path / "cache"))


def test_every_odd_row_is_named_by_its_line(found: Profile) -> None:
    assert {what: places.first for what, places in found.anomalies.items()} == EXPECTED


def test_columns_labels_and_lengths_are_counted(found: Profile) -> None:
    assert (found.rows, found.unread) == (10, 1)
    assert {one.name: one.use for one in found.columns} == {"id": "", "body": "text", "mood": "label"}
    body = found.columns[1]
    assert (body.filled, body.distinct, body.lengths["min"], body.lengths["max"]) == (9, 7, 36, 64)
    assert found.labels == {"good": 5, "bad": 4}


@pytest.mark.parametrize(
    ("column", "cells", "use", "labels"),
    [
        ("labels", ('"[""good"", ""food""]"', '"[""bad""]"'), "labels", {"good": 10, "food": 10, "bad": 10}),
        ("mood", ("good|food", "bad|food", "bad", "good"), "labels", {"good": 10, "food": 10, "bad": 10}),
        ("tags", ("B-PER O O", "O O B-LOC"), "tags", {"PER": 10, "LOC": 10}),
        ("mood", ("['good']", "['bad']"), "label", {"good": 10, "bad": 10}),
    ],
)
def test_several_labels_and_tags_are_counted_one_by_one(
    tmp_path: Path, column: str, cells: tuple[str, ...], use: str, labels: dict[str, int]
) -> None:
    rows = [f"a text of number {n},{cells[n % len(cells)]}" for n in range(20)]
    (tmp_path / "a.csv").write_text("\n".join([f"text,{column}", *rows]) + "\n")
    found = profile(sniff("a.csv", tmp_path, tmp_path))
    assert {one.name: one.use for one in found.columns} == {"text": "text", column: use}
    assert found.labels == labels


def test_words_of_all_kinds_are_no_labels(tmp_path: Path) -> None:
    rows = [json.dumps({"tokens": ["word", str(n), str(n * 7)]}) for n in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert profile(sniff("a.jsonl", tmp_path, tmp_path)).labels == {}


def test_labels_that_look_alike_are_named(tmp_path: Path) -> None:
    rows = [f"a text of number {n},{('good', 'bad', 'good', 'Good')[n % 4]}" for n in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    anomalies = profile(sniff("a.csv", tmp_path, tmp_path)).anomalies
    assert anomalies["label 'Good' looks like 'good' (labels.rename)"].count == 10


def test_a_task_says_which_columns_matter(tmp_path: Path, labelling) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(
            json.dumps({"text": f"a text of number {n}", "note": "seen by no model", "label": n % 2}) + "\n"
            for n in range(20)
        )
    )
    found = profile(sniff("a.jsonl", tmp_path, tmp_path), labelling, "demo")
    assert {one.name: one.use for one in found.columns} == {"text": "text", "note": "", "label": "label"}
    (tmp_path / "b.csv").write_text("number\n1\n2\n")
    with pytest.raises(BadData, match="'text'"):
        profile(sniff("b.csv", tmp_path, tmp_path), labelling, "demo")


def test_files_of_a_folder_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / name).write_text(f"text,label\n,x\nwhat {name} has,y\n")
    assert profile(sniff("both", tmp_path, tmp_path)).anomalies["empty text"].first == ["a.csv:2", "b.csv:2"]


def test_languages_are_told_and_the_same_each_time() -> None:
    texts = [
        "This is a sentence that was written in English by somebody.",
        "Ceci est une phrase qui a été écrite en français par quelqu'un.",
        "Dies ist ein Satz, der von jemandem auf Deutsch geschrieben wurde.",
        "ok",
    ]
    sample = TextSample()
    for text in texts:
        sample.add(text)
    assert languages(sample.texts) == {"en": 1, "fr": 1, "de": 1}
    mixed = [f"{first} {second}" for first in texts for second in texts]
    assert languages(mixed) == languages(mixed)


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert all(isinstance(what, str) for what in anomaly_detector()(text))


@given(st.text(alphabet="éàçñöüÄßøåłšж中文 abc", min_size=1))
def test_broken_characters_are_found_and_whole_ones_are_not(text: str) -> None:
    def broken(shown: str) -> bool:
        return any(what.startswith("broken") for what in anomaly_detector()(shown))

    assert not broken(text)
    if re.search("[éàçñöüß]", text):
        assert broken(text.encode().decode("latin-1"))


@pytest.mark.parametrize(("lengths", "limit"), [([10] * 50, 1000), ([100, 2000] * 50, 2000 + 6 * 1900)])
def test_very_long_is_what_is_far_from_the_others(lengths: list[int], limit: int) -> None:
    assert very_long(lengths) == limit


def test_the_page_stands_alone_and_quotes_no_text(found: Profile) -> None:
    made = page(found)
    assert made == page(found)
    assert made.count("<svg") == 3
    assert not re.search(r"<(?:script|link|img)\b|\bsrc=|@import", made)
    assert "terrible" not in made
    assert "bob@example.org" not in made
    ids = re.findall(r' id="(p[0-9a-f]{10})"', made)
    assert len(ids) == len(set(ids))


def test_names_in_the_page_are_escaped(tmp_path: Path) -> None:
    rows = "".join(f"what is said in row {n},<i>${n % 2}^</i> 中\n" for n in range(20))
    (tmp_path / "a.csv").write_text(f"<u>text,label\n{rows}", encoding="utf-8")
    made = page(profile(sniff("a.csv", tmp_path, tmp_path)))
    assert "<u>text" not in made
    assert "<i>" not in made
    assert "&lt;i&gt;$1^" in made
