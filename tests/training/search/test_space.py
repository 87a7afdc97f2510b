"""What a search may vary is checked before the first trial, and a mistake is told with its line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadRecipe
from hub.recipe.recipe import Recipe
from hub.recipe.sections.tune import Dimension
from hub.training.search.space import Space, space_of

RecipeMaker = Callable[..., Recipe]
RECIPE = "task: sentiment\ndata: a.csv\ntrain: {epochs: 2}\ntune:\n  space:\n    "


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train.learning_rat: [0.1]", "learning_rat: cannot be varied. These keys can: method.type, "),
        ("train.seed: [1, 2]", "train.seed: cannot be varied"),
        ("data.limit: [1, 2]", "data.limit: cannot be varied"),
        ("epochs: [1, 2]", "tune.space.epochs: cannot be varied"),
        (
            "train.epochs: [0]",
            "train.epochs: the recipe does not accept 0: train.epochs: must be greater than 0",
        ),
        ("method.rank: {low: 1, high: 999, int: true}", "method.rank: the recipe does not accept 999"),
        ("method.rank: {low: 1, high: 9}", "method.rank: the recipe does not accept"),
        ("train.l1: {low: 0.1, high: 0.1}", "train.l1: low must be below high"),
        ("train.l1: {low: 0, high: 0.1, log: true}", "a logarithmic range needs low above 0"),
        ("train.l1: {low: 0.1}", "needs a list of values, or low and high"),
        ("train.l1: []", "needs a list of values, or low and high"),
        ("train.l1: {low: 0.1, high: 0.2, values: [1]}", "not both"),
        ("train.epochs: {low: 1.5, high: 3, int: true}", "must be whole numbers"),
        ("train.l1: {lo: 0.1, high: 0.2}", "unknown key, did you mean low?"),
        ("train.l1: 3", "train.l1: must be a valid"),
    ],
)
def test_a_bad_space_is_refused_with_its_line(make_recipe: RecipeMaker, line: str, said: str) -> None:
    with pytest.raises(BadRecipe) as error:
        space_of(make_recipe(RECIPE + line))
    assert "recipe.yaml:7: tune.space." in str(error.value)
    assert said in str(error.value)


def test_without_a_space_the_rate_the_batches_and_the_rank_are_varied(make_recipe: RecipeMaker) -> None:
    recipe = "task: sentiment\ndata: a.csv\n"
    assert list(space_of(make_recipe(recipe)).dimensions) == [
        "train.learning_rate",
        "train.batch_size",
        "method.rank",
    ]
    batches = [
        space_of(make_recipe(recipe, *changes)).dimensions["train.batch_size"].values
        for changes in ((), ("train.batch_size=8",))
    ]
    assert batches == [(16, 32), (8, 16)]
    head = space_of(make_recipe(recipe, "method.type=head")).dimensions
    assert "method.rank" not in head
    assert head["train.learning_rate"].low == pytest.approx(0.001)


def test_the_recipes_own_values_are_known_where_the_space_has_them(make_recipe: RecipeMaker) -> None:
    line = "train.epochs: {low: 1, high: 4, int: true}\n    method.rank: [4, 16]\n"
    more = "    train.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}\n"
    more += "    train.l1: {low: 0, high: 1, step: 0.1}\n"
    own = space_of(make_recipe(RECIPE + line + more)).own()
    assert own == {"train.epochs": 2, "train.learning_rate": 0.001, "train.l1": 0.0}  # rank is 8


def test_a_grid_has_each_combination_once(make_recipe: RecipeMaker) -> None:
    line = "train.l1: {low: 0, high: 0.2, step: 0.1}\n    method.rank: {low: 2, high: 4, int: true}"
    grid = space_of(make_recipe(RECIPE + line)).grid()
    assert sorted((point["train.l1"], point["method.rank"]) for point in grid) == [
        (l1, rank) for l1 in (0, 0.1, 0.2) for rank in (2, 3, 4)
    ]
    assert grid == space_of(make_recipe(RECIPE + line)).grid()
    assert grid != space_of(make_recipe(RECIPE + line, "train.seed=4")).grid()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train.l1: {low: 0, high: 1}", "recipe.yaml:7: tune.space.train.l1: a grid needs a list of values"),
        (
            "train.l1: {low: 0, high: 1, step: 0.001}\n    method.rank: {low: 1, high: 20, int: true}",
            "20,020 combinations are too many",
        ),
    ],
)
def test_what_makes_no_grid_is_refused(make_recipe: RecipeMaker, line: str, said: str) -> None:
    with pytest.raises(BadRecipe, match=said):
        space_of(make_recipe(RECIPE + line)).grid()


@given(low=st.integers(1, 50), count=st.integers(1, 30), step=st.integers(1, 7))
def test_every_point_of_a_grid_is_one_that_a_search_may_take(low: int, count: int, step: int) -> None:
    recipe = Recipe.model_validate({"task": "qa", "data": "a.json", "train": {"batch_size": low}})
    dimension = Dimension(low=low, high=low + count * step, step=step, int=True)
    space = Space(recipe, {"train.batch_size": dimension})
    points = [point["train.batch_size"] for point in space.grid()]
    assert sorted(points) == list(range(low, low + count * step + 1, step))
    assert space.own() == {"train.batch_size": low}
    assert all(space.applied({"train.batch_size": point}).train.batch_size == point for point in points)
