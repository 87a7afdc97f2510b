"""Augments training rows with changed copies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hub.api import Augmenter, AugmentOptions, BadData, BadRequest, Change, FieldKind
from hub.data.augment.changes import CopyRules, broken_rule, same_words
from hub.data.examples import AnyTask, Item
from hub.errors import BadPlugin, NotFound
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.registry.active import active
from hub.registry.kinds import AUGMENTERS
from hub.registry.loaded import extension_call, plugin_call

__all__ = ["BACK_TRANSLATION", "Augmented", "augment"]

BACK_TRANSLATION = "back_translation"
_LABELS = (FieldKind.LABEL, FieldKind.LABELS)
_PLACED = (FieldKind.ANSWERS, FieldKind.ENTITIES, FieldKind.TOKENS, FieldKind.TAGS)

Dropped = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Augmented:
    """The copies to train on, with the change that made each.

    `dropped` counts by change and reason: unchanged, repeated (the request of another copy or row), invalid
    (for the task), or the check that failed: length, words, negation, number, name, model.
    """

    items: tuple[Item, ...] = ()
    changes: tuple[str, ...] = ()
    dropped: Dropped = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The number of copies by change, and of all dropped copies."""
        counts = Counter(self.changes)
        counts["dropped"] = sum(sum(reasons.values()) for reasons in self.dropped.values())
        return {name: count for name, count in sorted(counts.items()) if count}

    def without(self, indices: Iterable[int], reason: str) -> Augmented:
        """Return the copies without those at some indices, which count as dropped for `reason`."""
        dropped = set(indices)
        left = [index for index in range(len(self.items)) if index not in dropped]
        more = Counter((self.changes[index], reason) for index in dropped)
        for change, reasons in self.dropped.items():
            more.update({(change, name): count for name, count in reasons.items()})
        return Augmented(
            tuple(self.items[index] for index in left),
            tuple(self.changes[index] for index in left),
            _nested(more),
        )


def augment(
    recipe: Recipe,
    task: AnyTask,
    train: Sequence[Item],
    apart: Iterable[Item],
    *,
    memory: Path | None = None,
    progress: Progress = silent,
) -> Augmented:
    """Return changed copies of training rows; none has the request of a row of `train` or `apart`.

    Augmenters may keep results in the file `memory`, as back-translation does.

    Raises:
        BadRecipe: the task's labels would not fit a changed text, or a field or augmenter does not exist.
        NotFound: the recipe's WordNet folder has no WordNet.
        MissingExtra: an augmenter needs a package that is not installed.
    """
    settings = recipe.augment
    if not settings.copies:
        return Augmented()
    fields = _fields(recipe, task)
    wanted = _wanted(recipe)
    seed = recipe.train.seed if settings.seed is None else settings.seed
    drawn = _draw(wanted, len(train), settings.copies, seed)
    options = AugmentOptions(
        recipe.folder,
        settings.wordnet,
        settings.language,
        settings.via,
        memory=memory,
        progress=progress,
        error=recipe.error,
    )
    changers: dict[str, tuple[Change, float]] = {}
    for name, one in wanted.items():
        chosen = (item.example for item, names in zip(train, drawn, strict=True) if name in names)
        texts = tuple(text for example in chosen for field in fields if (text := example.get(field)))
        changers[name] = _changer(one, replace(options, texts=texts)), one.share
    copier = _Copier(recipe, task, fields, _rules(recipe, task), random.Random(f"{seed} words"))
    seen = {item.request for item in (*train, *apart)}
    items: list[Item] = []
    changes: list[str] = []
    dropped: Counter[tuple[str, str]] = Counter()
    for item, names in zip(train, drawn, strict=True):
        for name in names:
            made = copier.copy(item, changers[name])
            if isinstance(made, Item) and made.request in seen:
                made = "repeated"
            if isinstance(made, str):
                dropped[name, made] += 1
                continue
            seen.add(made.request)
            items.append(made)
            changes.append(name)
    return Augmented(tuple(items), tuple(changes), _nested(dropped))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An augmenter that the recipe enables, its name, and the share of a text to change."""

    name: str
    augmenter: Augmenter[Any]
    share: float


def _draw(wanted: Mapping[str, _Wanted], rows: int, copies: int, seed: int) -> list[list[str]]:
    """Draw the change of each copy; one whose result is always equal is drawn once per row."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(rows):
        names: list[str] = []
        for _ in range(copies):
            left = [name for name, one in wanted.items() if not (one.augmenter.repeats and name in names)]
            names.append(rng.choice(left or list(wanted)))
        drawn.append(names)
    return drawn


def _fields(recipe: Recipe, task: AnyTask) -> list[str]:
    kinds = {field.kind for field in task.fields}
    if not kinds & set(_LABELS) or kinds & set(_PLACED):
        raise recipe.error(
            "augment.copies",
            f"task {recipe.task} cannot be augmented: answers would not fit changed words; only tasks with "
            "labels for whole texts can",
        )
    texts = [field.name for field in task.fields if field.kind is FieldKind.TEXT]
    for name in recipe.augment.fields:
        if name not in texts:
            known = ", ".join(texts)
            raise recipe.error("augment.fields", f"task {recipe.task} has no text field {name!r}: {known}")
    return list(recipe.augment.fields) or [name for name in texts if name != recipe.data.group_by]


def _wanted(recipe: Recipe) -> dict[str, _Wanted]:
    """Return what the recipe enables, by the name of its change."""
    settings = recipe.augment
    shares = {name: getattr(settings, name) for name in ("delete", "swap", "synonyms")}
    wanted = {
        name: _Wanted(name, _augmenter(recipe, name, "augment.others"), share)
        for name, share in {**shares, **settings.others}.items()
        if share
    }
    if (back := settings.back_translation) is not None:
        wanted[BACK_TRANSLATION] = _Wanted(back, _augmenter(recipe, back, "augment.back_translation"), 1.0)
    if not wanted:
        raise recipe.error(
            "augment.copies",
            "delete, swap and synonyms are 0 and back_translation is not set: copies would be unchanged",
        )
    return wanted


def _augmenter(recipe: Recipe, name: str, key: str) -> Augmenter[Any]:
    extensions = active().extensions
    if name not in extensions.specs(AUGMENTERS):
        reason = str(NotFound.of(AUGMENTERS.word, name, extensions.specs(AUGMENTERS)))
        raise recipe.error(key, reason.rstrip("."))
    return extensions.get(AUGMENTERS, name)


def _changer(wanted: _Wanted, options: AugmentOptions) -> Change:
    name = wanted.name
    with extension_call(AUGMENTERS.word, name, "changer()"):
        change = wanted.augmenter.changer(options)

    def guarded(text: str, share: float, rng: random.Random) -> str:
        with extension_call(AUGMENTERS.word, name, "a change"):
            made = change(text, share, rng)
        if not isinstance(made, str):
            raise BadPlugin(f"Augmenter {name!r} returned {type(made).__name__}, not a text.")
        return made

    return guarded


def _rules(recipe: Recipe, task: AnyTask) -> CopyRules | None:
    """Return the rules that copies must satisfy; None without checks.

    A label of two texts, such as entailment, also depends on names.
    """
    settings = recipe.augment
    if settings.check == "none":
        return None
    many_texts = sum(field.kind is FieldKind.TEXT for field in task.fields if field.required) > 1
    keep = settings.keep or ("negation", "number", *(("name",) if many_texts else ()))
    return CopyRules(settings.min_kept, settings.length, keep)


@dataclass(frozen=True, slots=True)
class _Copier:
    recipe: Recipe
    task: AnyTask
    fields: Sequence[str]
    rules: CopyRules | None
    rng: random.Random

    def copy(self, item: Item, changer: tuple[Change, float]) -> Item | str:
        """Return the item with its texts changed, or the reason why it is dropped."""
        change, share = changer
        example = dict(item.example)
        unchanged = True
        for name in self.fields:
            if not (text := example.get(name)):
                continue
            made = change(text, share, self.rng)
            if same_words(text, made):
                continue
            if self.rules and (reason := broken_rule(text, made, self.rules)):
                return reason
            example[name], unchanged = made, False
        if unchanged:
            return "unchanged"
        try:
            with plugin_call(self.recipe.task, f"request() on a copy of {item.place}"):
                request = self.task.request(example).model_dump_json()
        except (BadRequest, BadData):
            return "invalid"
        return replace(item, example=example, request=request, sent=None, cleaned=None)


def _nested(counts: Mapping[tuple[str, str], int]) -> Dropped:
    found: Dropped = {}
    for (change, reason), count in sorted(counts.items()):
        found.setdefault(change, {})[reason] = count
    return found
