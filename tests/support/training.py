"""Small tasks, tiny bases and recipes for training tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.api import (
    AdapterInfo,
    BadData,
    Example,
    Features,
    Field,
    FieldKind,
    Model,
    Output,
    Row,
    Task,
    Text,
    Tokenizer,
    truncate,
)
from hub.bases.cache import Bases
from hub.recipe.recipe import Recipe, load_recipe
from hub.registry.host import Registry

if TYPE_CHECKING:
    from hub.training.train import TrainResult


class Ask(Model):
    text: Text


class Answer(Model):
    label: str


class Labelling(Task[Ask, Answer]):
    """A label for a text; a text that says so cannot be used."""

    fields = (
        Field("text", FieldKind.TEXT, "The text."),
        Field("label", FieldKind.LABEL, "Its label."),
        Field("tags", FieldKind.LABELS, "Tags.", required=False),
    )
    metric = "accuracy"

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return tuple(sorted({example["label"] for example in examples}))

    def request(self, example: Example) -> Ask:
        return Ask(text=example["text"])

    def encode(self, request: Ask, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        return [Row(**truncate(tokenizer(request.text), adapter.max_length))]

    def decode(self, request: Ask, outputs: Sequence[Output], adapter: AdapterInfo) -> Answer:
        values = outputs[0].values
        assert values is not None
        return Answer(label=adapter.labels[int(values.argmax())])

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if "unusable" in example["text"]:
            raise BadData("says that it is unusable")
        [row] = self.encode(self.request(example), tokenizer, adapter)
        return [{"input_ids": row.input_ids, "labels": adapter.labels.index(example["label"])}]

    def metrics(self, predictions: Sequence[Answer], references: Sequence[Example]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        right = sum(answer.label == example["label"] for answer, example in pairs)
        return {"accuracy": right / len(references)}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """A state folder's bases: a tiny encoder called tiny."""
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases")
    made = Bases(folder)
    made.pull(str(tiny_encoder(folder / "encoder").path), "tiny")
    return made


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def run(tmp_path: Path, registry: Registry, bases: Bases) -> Callable[..., TrainResult]:
    """Return a function that trains a recipe in a home of its own."""
    from hub.store.store import Store
    from hub.training.train import train

    def trained(recipe: Recipe, home: str = "home", **settings: Any) -> TrainResult:
        store, work = Store(tmp_path / home), tmp_path / home / "runs" / recipe.name
        return train(recipe, registry=registry, store=store, bases=bases, work=work, **settings)

    return trained


@pytest.fixture
def labelling() -> Labelling:
    return Labelling()


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Return a function that writes files and a recipe beside them, and loads the recipe."""

    def make(text: str, *overrides: str, **files: str | bytes) -> Recipe:
        for name, content in files.items():
            path = tmp_path / name.replace("_", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path = tmp_path / "recipe.yaml"
        path.write_text(f"name: demo\n{text}", encoding="utf-8")
        return load_recipe(path, overrides)

    return make
