"""Cross-validation: every row is held out once, labels in proportion, groups whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.data.dataset import InvalidRows, prepare
from hub.data.examples import Item
from hub.data.folds import fold_datasets, folds
from hub.errors import BadRecipe
from hub.recipe.by_rows import TrainingRows
from hub.recipe.recipe import Recipe
from tests.support.training import Labelling


def items_of(labels: list[str], group: Callable[[int], str] = str) -> list[Item]:
    return [
        Item({"text": group(n), "label": label, "tags": None}, str(n), "a", n)
        for n, label in enumerate(labels)
    ]


@given(st.lists(st.sampled_from("abcd"), min_size=6, max_size=60), st.integers(2, 6), st.integers(0, 3))
def test_every_row_is_held_out_once(labels: list[str], count: int, seed: int) -> None:
    items = items_of(labels)
    made = list(folds(items, count, seed, Labelling()))
    assert len(made) == count
    assert sorted(item.line for _, held_out in made for item in held_out) == list(range(len(items)))
    for left, held_out in made:
        assert sorted(item.line for item in (*left, *held_out)) == list(range(len(items)))


def test_labels_are_in_proportion_in_every_fold() -> None:
    items = items_of(["a"] * 80 + ["b"] * 20)
    for _, held_out in folds(items, 5, 1, Labelling()):
        assert Counter(item.example["label"] for item in held_out) == {"a": 16, "b": 4}


def test_groups_are_whole_and_labels_about_in_proportion() -> None:
    labels = ["ab"[n % 10 >= 7] for n in range(200)]
    items = items_of(labels, lambda n: f"group {n // 5}")
    for left, held_out in folds(items, 4, 1, Labelling(), "text"):
        sides = [{item.example["text"] for item in side} for side in (left, held_out)]
        assert sides[0].isdisjoint(sides[1])
        share = Counter(item.example["label"] for item in held_out)["b"] / len(held_out)
        assert 0.2 < share < 0.4


def test_there_are_no_more_folds_than_groups() -> None:
    items = items_of(list("abab"), lambda n: f"group {n % 2}")
    assert len(list(folds(items, 4, 0, Labelling(), "text"))) == 2
    assert list(folds(items_of(list("ab"), lambda n: "one"), 2, 0, Labelling(), "text")) == []


def test_folds_are_made_of_training_rows_cleaned_and_held_out_ones_as_sent(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = "text,label\n" + "".join(f"text  {n},{'ab'[n % 2]}\n" for n in range(300))
    recipe = make_recipe("task: t\ndata: a.csv\nevaluate: {folds: 3}\ntrain: {patience: 2}\n", a_csv=rows)
    dataset = prepare(recipe, Labelling(), tmp_path, InvalidRows(recipe))
    assert dataset.validation
    held: list[int] = []
    for fold in fold_datasets(recipe, dataset, Labelling(), labelled=True):
        held += [item.line for item in fold.held_out]
        assert all("  " not in item.example["text"] for item in fold.train)
        assert all("  " in item.example["text"] for item in (*fold.held_out, *fold.validation))
        assert fold.labels == dataset.labels
    assert sorted(held) == sorted(item.line for item in (*dataset.train, *dataset.validation))
    assert not set(held) & {item.line for item in dataset.held_out}


def test_folds_choose_a_checkpoint_where_the_recipe_does(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(400))
    few_shot = "task: t\ndata: a.csv\nevaluate: {folds: 3}\nmethod: {type: few-shot}\n"
    for steps, asked in ("", False), ("train: {checkpoint_steps: 10}\n", True):
        recipe = make_recipe(few_shot + steps, a_csv=rows)
        dataset = prepare(recipe, Labelling(), tmp_path, InvalidRows(recipe))
        settled = recipe.settled(TrainingRows(len(dataset.train), "bert", classes=2))
        assert settled.train.checkpoint_steps == 10
        made = list(fold_datasets(settled, dataset, Labelling(), labelled=True))
        assert {one.chooses for one in (dataset, *made)} == {asked}
        assert all(bool(one.validation) is asked for one in made)


def test_the_seed_decides_the_folds() -> None:
    items = items_of(["a", "b"] * 20)

    def held(seed: int) -> list[list[int]]:
        return [[item.line for item in part] for _, part in folds(items, 4, seed, Labelling())]

    assert held(1) == held(1) != held(2)


@pytest.mark.parametrize("count", [1, 51, 2.5])
def test_a_count_that_makes_no_folds_is_refused(make_recipe: Callable[..., Recipe], count: float) -> None:
    with pytest.raises(BadRecipe, match=r"evaluate\.folds"):
        make_recipe(f"task: t\ndata: a.csv\nevaluate: {{folds: {count}}}\n")
