"""The search space, checked against the recipe before the first trial."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.errors import BadRecipe
from hub.recipe.by_rows import BATCH, FEW_BATCH
from hub.recipe.recipe import Recipe
from hub.recipe.sections.method import known_method
from hub.recipe.sections.tune import Dimension

__all__ = ["Space", "space_of"]

MAX_GRID_TRIALS = 10_000
RATE_RANGE = 5  # the default range of the learning rate: the method's default divided and multiplied by it
_SECTIONS = ("method", "train")
# Keys that change the split, which all trials share, or do not change results.
_SHARED = ("seed", "patience", "validation_fraction", "validation_rows", "checkpoint_steps", "cache")

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Space:
    """The values to try, by dotted key of the recipe."""

    recipe: Recipe
    dimensions: Mapping[str, Dimension]

    def applied(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with these values.

        Raises:
            BadRecipe: they cannot be combined.
        """
        return self.recipe.changed(values)

    def own(self) -> Values:
        """Return the recipe's own values that are inside the space."""
        found = self.recipe.resolved()
        kind = found["method"]["type"]
        if kind != "auto":
            found["train"]["learning_rate"] = found["train"]["learning_rate"] or known_method(kind).rate
        values = {}
        for key, dimension in self.dimensions.items():
            section, name = key.split(".")
            if _holds(dimension, found[section][name]):
                values[key] = found[section][name]
        return values

    def grid(self) -> list[Values]:
        """Return every combination, shuffled by the seed.

        Raises:
            BadRecipe: a range has no step, or there are too many combinations.
        """
        points = {key: _points(dimension) for key, dimension in self.dimensions.items()}
        for key, values in points.items():
            if values is None:
                raise self._error(key, "a grid needs a list of values, or a step")
        lists = [values for values in points.values() if values is not None]
        if (size := math.prod(map(len, lists))) > MAX_GRID_TRIALS:
            raise self.recipe.error(
                "tune.space", f"{size:,} combinations are too many for a grid (at most {MAX_GRID_TRIALS:,})"
            )
        combinations = [dict(zip(points, values, strict=True)) for values in itertools.product(*lists)]
        random.Random(self.recipe.train.seed).shuffle(combinations)
        return combinations

    def to_json(self) -> dict[str, Any]:
        """Return the space as plain JSON values."""
        return {key: dimension.model_dump(mode="json") for key, dimension in self.dimensions.items()}

    def _error(self, key: str, problem: str) -> BadRecipe:
        return self.recipe.error(("tune", "space", key), problem)


def space_of(recipe: Recipe) -> Space:
    """Return the space of a recipe, by default that of its method.

    Raises:
        BadRecipe: a key cannot be varied, or does not accept a value.
    """
    space = Space(recipe, recipe.tune.space or _default(recipe))
    for key, dimension in recipe.tune.space.items():
        _check_key(space, key)
        for value in _extremes(dimension):
            try:
                space.applied({key: value})
            except BadRecipe as error:
                raise space._error(key, f"the recipe does not accept {value!r}: {_reason(error)}") from None
    return space


def _default(recipe: Recipe) -> dict[str, Dimension]:
    kind = recipe.method.type if recipe.method.type != "auto" else "lora"
    rate, size = known_method(kind).rate, recipe.train.batch_size
    space = {
        "train.learning_rate": Dimension(low=rate / RATE_RANGE, high=rate * RATE_RANGE, log=True),
        "train.batch_size": Dimension(values=(size, 2 * size) if size else (FEW_BATCH, BATCH)),
    }
    if recipe.method.type in ("lora", "few-shot"):
        space["method.rank"] = Dimension(values=(4, 8, 16))
    return space


def _check_key(space: Space, key: str) -> None:
    section, dot, name = key.partition(".")
    known = type(space.recipe).model_fields
    fields = known[section].annotation.model_fields if section in _SECTIONS else {}  # type: ignore[union-attr]
    free = [f"{one}.{field}" for one in _SECTIONS for field in _free(known[one].annotation)]
    if not dot or name not in fields or name in _SHARED:
        raise space._error(key, f"cannot be varied. These keys can: {', '.join(free)}")


def _free(section: Any) -> list[str]:
    return [name for name in section.model_fields if name not in _SHARED]


def _holds(dimension: Dimension, value: Any) -> bool:
    if dimension.values:
        return value in dimension.values
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    low, high = dimension.low or 0.0, dimension.high or 0.0
    steps = (value - low) / dimension.step if dimension.step else 0.0
    whole = not dimension.int or value % 1 == 0
    return low <= value <= high and whole and abs(steps - round(steps)) < 1e-9


def _extremes(dimension: Dimension) -> tuple[Any, ...]:
    """Return values to test whether a key accepts all values of a dimension."""
    if dimension.values:
        return dimension.values
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.int:
        return int(low), int(high)
    return low, high, low + (dimension.step or (high - low) / math.e)


def _points(dimension: Dimension) -> list[Any] | None:
    """Return all values of a dimension, None if they cannot be enumerated."""
    if dimension.values:
        return list(dimension.values)
    step = dimension.step or (1.0 if dimension.int and not dimension.log else None)
    if step is None:
        return None
    low, high = dimension.low or 0.0, dimension.high or 0.0
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > MAX_GRID_TRIALS:
        return None
    points = [low + number * step for number in range(count)]
    return [int(point) for point in points] if dimension.int else [float(f"{point:.12g}") for point in points]


def _reason(error: BadRecipe) -> str:
    problem = str(error).splitlines()[0].rstrip(".")
    return problem.partition(": ")[2] or problem
