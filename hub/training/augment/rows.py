"""Changed copies of a recipe's training rows, and an account of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from hub.api import BadData, BadRequest, FieldKind
from hub.training.augment.changes import Change, delete, replace_words, swap
from hub.training.augment.wordnet import WordNet
from hub.training.examples import AnyTask, Item
from hub.training.guard import plugin_call
from hub.training.recipe import Recipe

__all__ = ["Augmented", "augment"]

_LABELS = (FieldKind.LABEL, FieldKind.LABELS)
_PLACED = (FieldKind.ANSWERS, FieldKind.ENTITIES, FieldKind.TOKENS, FieldKind.TAGS)


@dataclass(frozen=True, slots=True)
class Augmented:
    """Copies to train on beside the rows; `counts` has them by change, and under `dropped` those that came
    out unchanged, unusable, or the same as another training row or one kept apart."""

    items: tuple[Item, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def augment(recipe: Recipe, task: AnyTask, train: Sequence[Item], apart: Iterable[Item]) -> Augmented:
    """Return changed copies of training rows; none asks what a row of `train` or `apart` asks.

    Raises:
        BadRecipe: the labels of the task would not fit a changed text, or there is no such field.
        NotFound: there is no WordNet where the recipe says.
    """
    settings = recipe.augment
    if not settings.copies:
        return Augmented()
    fields = _fields(recipe, task)
    changes = _changes(recipe)
    chance = random.Random(recipe.train.seed if settings.seed is None else settings.seed)
    seen = {item.request for item in (*train, *apart)}
    items: list[Item] = []
    counts: Counter[str] = Counter()
    for item in train:
        for _ in range(settings.copies):
            name = chance.choice(list(changes))
            made = _copy(recipe, task, item, fields, changes[name], chance)
            if made is None or made.request in seen:
                counts["dropped"] += 1
                continue
            seen.add(made.request)
            items.append(made)
            counts[name] += 1
    return Augmented(tuple(items), dict(sorted(counts.items())))


def _fields(recipe: Recipe, task: AnyTask) -> list[str]:
    """Return the text fields that are changed."""
    kinds = {field.kind for field in task.fields}
    if not kinds & set(_LABELS) or kinds & set(_PLACED):
        raise recipe.error(
            "augment.copies",
            f"the rows of task {recipe.task} would no longer fit their answers once words are changed; only "
            "tasks with labels for whole texts can be augmented",
        )
    texts = [field.name for field in task.fields if field.kind is FieldKind.TEXT]
    for name in recipe.augment.fields:
        if name not in texts:
            known = ", ".join(texts)
            raise recipe.error("augment.fields", f"task {recipe.task} has no text field {name!r}: {known}")
    return list(recipe.augment.fields) or [name for name in texts if name != recipe.data.group_by]


def _changes(recipe: Recipe) -> dict[str, tuple[Change, float]]:
    """Return the ways that the recipe asks for, with their shares."""
    settings = recipe.augment
    found: dict[str, tuple[Change, float]] = {}
    if settings.delete:
        found["delete"] = delete, settings.delete
    if settings.swap:
        found["swap"] = swap, settings.swap
    if settings.synonyms:
        words = WordNet.open(recipe.folder / Path(settings.wordnet))
        found["synonyms"] = replace_words(cache(words.synonyms)), settings.synonyms
    if not found:
        raise recipe.error("augment.copies", "delete, swap and synonyms are all 0: copies would be the same")
    return found


def _copy(
    recipe: Recipe,
    task: AnyTask,
    item: Item,
    fields: Sequence[str],
    how: tuple[Change, float],
    chance: random.Random,
) -> Item | None:
    """Return the item with its texts changed; None if the task refuses it."""
    change, share = how
    example = dict(item.example)
    for name in fields:
        if text := example.get(name):
            changed = change(text, share, chance)
            example[name] = changed if changed.split() != text.split() else text
    try:
        with plugin_call(recipe.task, f"request() on a copy of {item.place}"):
            request = task.request(example).model_dump_json()
    except (BadRequest, BadData):
        return None
    return replace(item, example=example, request=request, sent=None, cleaned=None)
