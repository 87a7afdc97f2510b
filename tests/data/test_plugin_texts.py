"""Cleaners and augmenters of a third party: the example of docs/plugins/texts.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.api import Field, FieldKind
from hub.data.augment.augment import augment
from hub.data.examples import Item
from hub.data.texts import Preprocessor
from hub.errors import BadPlugin, BadRecipe
from hub.recipe.recipe import Recipe
from tests.support.plugins import Install, plugin_of, write_page
from tests.support.training import Ask, Labelling

RecipeMaker = Callable[..., Recipe]
FIELDS = (
    Field("text", FieldKind.TEXT, "The text."),
    Field("entities", FieldKind.ENTITIES, "Entities.", required=False),
)


def test_a_cleaner_changes_training_texts_and_the_offsets_follow(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker
) -> None:
    install(write_page("texts", tmp_path))
    recipe = make_recipe("task: demo\ndata: {source: a.csv, clean: {others: [ticket-numbers]}}")
    example = {"text": "see #12345 of  Ann", "entities": ({"start": 15, "end": 18, "label": "PER"},)}
    done = Preprocessor(recipe, FIELDS).process(example)
    assert done.example["text"] == "see #0 of Ann"
    assert done.example["entities"] == ({"start": 10, "end": 13, "label": "PER"},)
    assert done.sent == example
    assert done.changed == ("whitespace", "ticket-numbers")


def test_an_augmenter_makes_copies_by_the_seed(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker
) -> None:
    install(write_page("texts", tmp_path))
    text = "{copies: 1, delete: 0, swap: 0, check: none, others: {typos: 0.2}}"
    recipe = make_recipe(f"task: demo\ndata: a.csv\naugment: {text}")
    request = Ask(text="the food was good").model_dump_json()
    item = Item({"text": "the food was good", "label": "a", "tags": None}, request, "a", 1)
    made, again = (augment(recipe, Labelling(), [item], []) for _ in range(2))
    assert made.changes == ("typos",)
    assert made.items == again.items
    assert made.items[0].example["text"] in {
        "hte food was good",
        "the ofod was good",
        "the food aws good",
        "the food was ogod",
    }


def test_a_name_that_no_plugin_has_is_an_error_of_the_recipe(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe("task: demo\ndata: {source: a.csv, clean: {others: [none]}}")
    with pytest.raises(BadRecipe, match=r"data\.clean\.others: No cleaner named 'none'. Available: control"):
        Preprocessor(recipe, FIELDS)
    recipe = make_recipe("task: demo\ndata: a.csv\naugment: {copies: 1, others: {none: 0.1}}")
    with pytest.raises(BadRecipe, match=r"augment\.others: No augmenter named 'none'. Available: delete"):
        augment(recipe, Labelling(), [], [])


@pytest.mark.parametrize(
    "spans", ["[(0, 0, 'x')]", "[(2, 4, ''), (3, 5, '')]", "[(0, 99, '')]", "1 / 0", "7"]
)
def test_spans_that_are_not_sorted_apart_and_inside_name_the_cleaner(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker, spans: str
) -> None:
    code = f"""
@hookimpl
def hub_cleaners():
    yield CleanerSpec("bad", "Cleans.", "made:Bad")

class Bad(Cleaner):
    def spans(self, text):
        return {spans}
"""
    install(plugin_of(tmp_path, code))
    recipe = make_recipe("task: demo\ndata: {source: a.csv, clean: {others: [bad]}}")
    with pytest.raises(BadPlugin, match="Cleaner 'bad'"):
        Preprocessor(recipe, FIELDS).process({"text": "a text of words", "entities": None})
