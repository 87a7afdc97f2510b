"""Training as `hub recipe new` and `hub train` do it, in this process."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from time import process_time
from typing import TYPE_CHECKING

from benchmarks.defaults.cells import Result
from benchmarks.defaults.sets import Parts, TextRow, write_rows

if TYPE_CHECKING:
    from hub.bases.cache import Bases
    from hub.recipe.recipe import Recipe
    from hub.registry.host import Registry

__all__ = ["WAYS", "Hub", "recipe_of", "settings_of", "train_ours"]

TASK = "classification"
WAYS = {"default": (), "fast": ("preset=fast",), "best": ("preset=best",)}
_NOT_OF_THE_RESULT = ("name", "summary", "data", "evaluate", "deploy", "tune", "report")


@dataclass(frozen=True, slots=True)
class Hub:
    """What a training run needs of the hub."""

    registry: Registry
    bases: Bases
    base: str
    packages: Path  # that were downloaded


def recipe_of(
    hub: Hub, folder: Path, parts: Parts, rows: Sequence[TextRow], way: str, overrides: Sequence[str]
) -> Recipe:
    """Write the rows and a new recipe for them, and load it with the preset and the overrides of a way.

    The rows to choose by and the test rows are its held-out rows.
    """
    from hub.data.profile.suggest_recipe import Choices, new_recipe
    from hub.progress import silent
    from hub.recipe.recipe import load_recipe
    from hub.training.plan import checked_rows

    folder.mkdir(parents=True, exist_ok=True)
    train = write_rows(folder / "train.csv", rows)
    held_out = [write_rows(folder / f"{part}.csv", rows) for part, rows in parts.held_out.items()]
    check = partial(checked_rows, registry=hub.registry, bases=hub.bases, cache=hub.packages, progress=silent)
    loaded = hub.registry.task(TASK)
    target = folder / "recipe"
    choices = Choices(hub.base)
    new_recipe(loaded, str(train), target, choices, check=check, bases=hub.bases, cache=hub.packages)
    sources = json.dumps([str(path) for path in held_out])
    return load_recipe(target, [f"data.eval={sources}", *WAYS[way], *overrides])


def settings_of(recipe: Recipe) -> str:
    """Return the settings of a recipe that decide what is trained."""
    resolved = recipe.resolved()
    return json.dumps(
        {key: resolved[key] for key in resolved if key not in _NOT_OF_THE_RESULT}, sort_keys=True
    )


def train_ours(hub: Hub, folder: Path, recipe: Recipe, seed: int) -> Result:
    """Train a recipe and store the version; the int8 check and the report are left out."""
    from hub.store.store import Store
    from hub.training.train import train

    recipe = recipe.changed({"train.seed": seed, "report.trackers": []})
    started = process_time()
    result = train(
        recipe, registry=hub.registry, store=Store(folder / "home"), bases=hub.bases, work=folder / "work"
    )
    outcome = result.outcome
    right: defaultdict[str, list[bool]] = defaultdict(list)
    answers = zip(outcome.held_out.items, outcome.scored.predictions, strict=True)
    for item, answer in answers:
        right[Path(item.source).stem].append(answer.label == item.example["label"])
    accuracy = {part: mean(answers) for part, answers in right.items()}
    fitted = outcome.fitted
    return Result(
        choose=accuracy["choose"],
        test=accuracy.get("test"),
        steps=fitted.steps,
        seconds=fitted.seconds,
        cpu_seconds=process_time() - started,
    )
