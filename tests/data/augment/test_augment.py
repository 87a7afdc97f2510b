"""Changed copies of training rows keep what decides their label, and are told apart from what is measured."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.data.augment.augment import augment
from hub.data.augment.changes import delete, replace_words, swap
from hub.data.augment.wordnet import WordNet
from hub.data.examples import Item
from hub.errors import BadData, BadRecipe, NotFound
from hub.recipe.recipe import Recipe
from tests.support.training import Ask, Labelling

RecipeMaker = Callable[..., Recipe]
WORDS = ("the", "food", "wasn't", "not", "good", "but", "very,", "cheap")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12)
SHARES = st.floats(0.01, 0.5)
TURNING = {"wasn't", "not", "but"}
RECIPE = "task: demo\ndata: a.csv\naugment: "
POSTS = ("the food was very good", "the film was not so bad", "a slow and cold service", "good")


def items(texts: Sequence[str] = POSTS) -> list[Item]:
    asked = [Ask(text=text).model_dump_json() for text in texts]
    return [
        Item({"text": text, "label": "ab"[line % 2], "tags": None}, asked[line], "a", line)
        for line, text in enumerate(texts)
    ]


@given(TEXTS, SHARES, st.integers(0, 9))
def test_what_is_left_out_is_neither_a_negation_nor_the_longest_word(
    words: list[str], share: float, seed: int
) -> None:
    left = delete(" ".join(words), share, random.Random(seed)).split()
    gone = Counter(words) - Counter(left)
    assert not Counter(left) - Counter(words)
    assert not set(gone) & TURNING
    free = [word for word in words if word not in TURNING]
    assert gone.total() == min(max(1, round(share * len(words))), max(0, len(free) - 1))
    assert not free or max(free, key=len) in left


@given(TEXTS, SHARES, st.integers(0, 9))
def test_words_change_places_but_negations_do_not(words: list[str], share: float, seed: int) -> None:
    moved = swap(" ".join(words), share, random.Random(seed)).split()
    assert Counter(moved) == Counter(words)
    assert [word if word in TURNING else "" for word in words] == [
        word if word in TURNING else "" for word in moved
    ]


def test_a_synonym_keeps_the_capital_letter() -> None:
    change = replace_words({"cheap": ["inexpensive"], "not": ["never"]}.get)  # type: ignore[arg-type]
    assert change("Cheap and not cheap", 0.5, random.Random(0)) == "Inexpensive and not inexpensive"
    assert change("nothing known", 0.5, random.Random(0)) == "nothing known"


def wordnet(folder: Path) -> Path:
    """Write a WordNet of two synsets: a licence, then the lines that the offsets point at."""
    folder.mkdir()
    licence = "  1 This is a licence.\n"
    cheap = "00000001 00 a 03 cheap 0 inexpensive(a) 0 low_cost 0 000 | not dear\n"
    rude = "00000002 00 a 02 cheap 0 rude 0 000 | not kind\n"
    first, second = len(licence), len(licence + cheap)
    for part in ("noun", "verb", "adv"):
        (folder / f"index.{part}").write_text(licence)
        (folder / f"data.{part}").write_text(licence)
    (folder / "data.adj").write_text(licence + cheap + rude)
    (folder / "index.adj").write_text(
        f"{licence}cheap a 2 1 ! 2 5 {first:08} {second:08}\nrude a 1 0 1 0 {second:08}\n"
    )
    return folder


def test_synonyms_are_single_words_of_the_most_usual_sense(tmp_path: Path) -> None:
    words = WordNet.open(wordnet(tmp_path / "dict"))
    assert words.synonyms("cheap") == ["inexpensive"]
    assert words.synonyms("rude") == ["cheap"]
    assert words.synonyms("unknown") == []


def test_a_word_of_two_parts_of_speech_has_no_synonyms(tmp_path: Path) -> None:
    folder = wordnet(tmp_path / "dict")
    index = (folder / "index.adj").read_text()
    (folder / "index.adv").write_text(index)
    assert WordNet.open(folder).synonyms("cheap") == []


def test_without_wordnet_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="apt install wordnet-base"):
        WordNet.open(tmp_path)


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (wordnet(tmp_path / "dict") / "index.verb").write_text("run v one\n")
    with pytest.raises(BadData, match=r"index\.verb"):
        WordNet.open(tmp_path / "dict")


def test_copies_have_their_rows_label_and_place(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(RECIPE + "{copies: 3}", a_csv="")
    made = augment(recipe, Labelling(), items(), [])
    originals = {item.line: item for item in items()}
    assert made.items
    for copy in made.items:
        assert copy.example["label"] == originals[copy.line].example["label"]
        assert copy.request == Ask(text=copy.example["text"]).model_dump_json()
    asked = [item.request for item in (*items(), *made.items)]
    assert len(set(asked)) == len(asked)
    assert sum(made.counts.values()) == 3 * len(POSTS)
    assert made.counts["dropped"] >= 3  # the text of one word
    assert len(made.items) == made.counts["delete"] + made.counts["swap"]


def test_equal_seeds_make_equal_copies(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(RECIPE + "{copies: 2, seed: 4}", a_csv="")
    other = make_recipe(RECIPE + "{copies: 2, seed: 5}", a_csv="")
    first, again, third = (augment(one, Labelling(), items(), []) for one in (recipe, recipe, other))
    assert first == again != third


def test_no_copy_asks_what_a_row_kept_apart_asks(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(RECIPE + "{copies: 16, delete: 0.5, swap: 0, check: none}", a_csv="")
    train = items(["bad food here"])
    free = augment(recipe, Labelling(), train, [])
    assert free.items
    apart = free.items[:1]
    assert apart[0].request not in {item.request for item in augment(recipe, Labelling(), train, apart).items}


def test_synonyms_come_from_the_folder_of_the_recipe(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    wordnet(tmp_path / "dict")
    text = "{copies: 1, delete: 0, swap: 0, synonyms: 0.2, wordnet: dict}"
    made = augment(make_recipe(RECIPE + text, a_csv=""), Labelling(), items(["cheap food"]), [])
    assert [item.example["text"] for item in made.items] == ["inexpensive food"]
    assert made.counts == {"synonyms": 1}


def test_nothing_is_made_unless_asked_for(make_recipe: RecipeMaker) -> None:
    made = augment(make_recipe("task: demo\ndata: a.csv\n", a_csv=""), Labelling(), items(), [])
    assert made.items == () and made.counts == {}


def test_rows_with_places_in_their_texts_are_refused(make_recipe: RecipeMaker) -> None:
    class Reading(Labelling):
        fields = (*Labelling.fields, Field("spans", FieldKind.ENTITIES, "Where.", required=False))

    class Rating(Labelling):
        fields = (Field("text", FieldKind.TEXT, "The text."),)

    recipe = make_recipe(RECIPE + "{copies: 1}", a_csv="")
    for task in (Reading(), Rating()):
        with pytest.raises(BadRecipe, match=r"augment\.copies.*labels for whole texts"):
            augment(recipe, task, items(), [])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("copies: 1, fields: [label]", r"augment\.fields.*no text field 'label': text"),
        ("copies: 1, delete: 0, swap: 0", "are 0 and"),
    ],
)
def test_a_section_that_can_do_nothing_is_refused(make_recipe: RecipeMaker, keys: str, said: str) -> None:
    with pytest.raises(BadRecipe, match=said):
        augment(make_recipe(f"{RECIPE}{{{keys}}}", a_csv=""), Labelling(), items(), [])
