"""The recipe: one typed YAML file that describes a training run and is stored with its version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator

from hub.api import Model
from hub.bases.base import BaseKind
from hub.errors import BadRecipe, HubError
from hub.names import check_name
from hub.recipe.by_rows import FEW_SHOT_BATCH, FEW_SHOT_CHECKPOINT, TrainingRows
from hub.recipe.errors import Origin, explain, first_infinite
from hub.recipe.sections.augment import Augment
from hub.recipe.sections.data import Bin, Data, LabelRules, Part
from hub.recipe.sections.evaluate import DeployGate, Evaluate
from hub.recipe.sections.method import Method, known_method
from hub.recipe.sections.report import ReportSection
from hub.recipe.sections.train import Train
from hub.recipe.sections.tune import Tune
from hub.recipe.yaml_file import Document, KeyPath, parse_scalar, read_yaml

__all__ = [
    "PRESETS",
    "Augment",
    "Bin",
    "Data",
    "DeployGate",
    "Evaluate",
    "LabelRules",
    "Method",
    "Part",
    "Recipe",
    "ReportSection",
    "Train",
    "Tune",
    "load_recipe",
    "with_preset",
]

RECIPE_FILE = "recipe.yaml"
LONGER = 2  # times the epochs, with the preset best


class Recipe(Model):
    """A training run; only `task` and `data` have no default."""

    name: str = Field("", description="Name of the adapter; default: the name of the recipe's folder.")
    preset: Literal["default", "fast", "best"] = Field(
        "default",
        description="Another set of defaults: fast skips optional steps and trains only the two highest "
        "layers of an encoder, or all layers of another base for one epoch without evaluations; best trains "
        "longer with a higher rank.",
    )
    summary: str = Field("", description="One sentence for readers, kept in the manifest.")
    task: str = Field(description="A task listed by `hub plugins list`.")
    base: str = Field(
        "minilm", description="A base listed by `hub base list`, or a source that `hub base pull` accepts."
    )
    data: Data = Field(description="Where the rows come from; a plain path is short for `source`.")
    augment: Augment = Field(Augment(), description="Modified copies of training rows.")
    options: dict[str, Any] = Field({}, description="Options of the task; see the plugin's README.")
    max_length: int | None = Field(
        None, ge=8, description="Maximum number of tokens per row; default: the task's."
    )
    method: Method = Field(Method(), description="What is trained on the frozen base.")
    train: Train = Field(Train(), description="Training settings.")
    evaluate: Evaluate = Field(Evaluate(), description="What is evaluated in addition to the metrics.")
    serve: Literal["slot", "merged"] = Field(
        "slot",
        description="slot: served on the base that all adapters share. merged: served from its own merged "
        "copy of the base, which takes memory for the changed weights and runs its rows in "
        "separate batches.",
    )
    tune: Tune = Field(Tune(), description="The search of `hub tune`.")
    report: ReportSection = Field(
        ReportSection(), description="The report of the run, and experiment trackers."
    )
    deploy: DeployGate = Field(DeployGate(), description="The gate of `hub train --deploy`.")

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @field_validator("name")
    @classmethod
    def _legal(cls, value: str) -> str:
        try:
            return check_name(value, "adapter") if value else value
        except HubError as error:
            raise ValueError(str(error).rstrip(".")) from None

    @property
    def folder(self) -> Path:
        """Folder that relative paths in the recipe start from."""
        return self._origin.path.parent if self._origin.path else Path.cwd()

    def error(self, key: str | KeyPath, problem: str) -> BadRecipe:
        """Return an error about the dotted `key`, with file and line if known."""
        parts = key.split(".") if isinstance(key, str) else key
        path = tuple(int(part) if isinstance(part, str) and part.isdigit() else part for part in parts)
        return BadRecipe(self._origin.describe(path, problem))

    def explain(self, error: ValidationError, model: type[BaseModel], key: str) -> BadRecipe:
        """Return the error for the section `key`, which is invalid for a plugin's model."""
        return explain(error, model, getattr(self, key), self._origin, (key,))

    def check_finite(self, values: Any, at: KeyPath = ()) -> None:
        """Raise BadRecipe if values at a place of the recipe have an infinite number or NaN."""
        if place := first_infinite(values, at):
            raise self.error(place, "must be a finite number")

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values, by dotted key.

        Raises:
            BadRecipe: a key does not accept its value, or the values cannot be combined.
        """
        plain = self.model_dump(mode="json", by_alias=True, exclude_unset=True)  # `on_base` fills the rest
        for key, value in values.items():
            plain = _replaced(plain, key.split("."), value)
        try:
            recipe = type(self).model_validate(plain)
        except ValidationError as error:
            raise explain(error, type(self), plain, self._origin) from None
        recipe._origin = self._origin
        return recipe

    def on_base(self, kind: BaseKind) -> Recipe:
        """Return the recipe with the values of its preset for this kind of base, where it gives none.

        Raises:
            BadRecipe: they cannot be combined with the given ones.
        """
        values = {key: value for key, value in _of_kind(self.preset, kind).items() if not self._gives(key)}
        return self.changed(values) if values else self

    def _gives(self, key: str) -> bool:
        section, _, name = key.partition(".")
        return name in getattr(self, section).model_fields_set

    def settled(self, rows: TrainingRows) -> Recipe:
        """Return the recipe with all values that depend on training rows, type of base or method.

        Raises:
            BadRecipe: the learning rate is above 1.
        """
        kind = self.method.type
        if kind == "auto":
            kind = self.method.by_rows(rows.count, rows.family, rows.classes)
        spec = known_method(kind)
        rate = (rows.rate if kind == "lora" else None) or spec.rate
        batch = self.train.batch_size or (FEW_SHOT_BATCH if kind == "few-shot" else rows.batch_size)
        epochs = self.train.epochs or rows.epochs(batch) * (LONGER if self.preset == "best" else 1)
        train: dict[str, Any] = {
            "learning_rate": self._multiplied(self.train.learning_rate or rate),
            "learning_rate_multiplier": 1.0,
            "batch_size": batch,
            "epochs": epochs,
        }
        if kind == "few-shot" and self.train.epochs is None:
            train["max_steps"] = self.train.max_steps or rows.few_shot_steps
            # An epoch of a few rows is a single step.
            train["checkpoint_steps"] = self.train.checkpoint_steps or FEW_SHOT_CHECKPOINT
        parts = {
            "method": self.method.model_copy(update={"type": kind}),
            "train": self.train.settled(train),
            "serve": "merged" if spec.merged else self.serve,
        }
        return self.model_copy(update=parts)

    def _multiplied(self, rate: float) -> float:
        if (found := rate * self.train.learning_rate_multiplier) <= 1:
            return found
        raise self.error("train.learning_rate_multiplier", f"the learning rate is {found:g} with it, above 1")

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default filled in, as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or `recipe.yaml` in a folder; each override is "dotted.key=value".

    Raises:
        BadRecipe: lists all problems, one per line: file, line, key, problem, allowed values.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    if not file.is_file():
        raise BadRecipe(f"{path}: there is no recipe here. Name a YAML file or a folder with {RECIPE_FILE}.")
    document = read_yaml(file)
    if not isinstance(document.value, dict):
        raise BadRecipe(f"{file}:1: a recipe is a mapping such as `task: sentiment` and `data: train.csv`.")
    values, overridden = _override(document, overrides)
    values = with_preset({**values, "name": values.get("name") or _default_name(file)})
    origin = Origin(file, document.lines, overridden)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, values, origin) from None
    recipe._origin = origin
    recipe.check_finite(recipe.model_dump(by_alias=True))
    return recipe


def _override(document: Document, overrides: Sequence[str]) -> tuple[dict[str, Any], frozenset[str]]:
    values: dict[str, Any] = document.value
    if isinstance(values.get("data"), str | list):
        values = {**values, "data": {"source": values["data"]}}
    keys = set()
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise BadRecipe(f"--set {text}: write key=value, such as train.epochs=2.")
        try:
            values = _replaced(values, parts, parse_scalar(value))
        except ValueError as error:
            raise BadRecipe(f"--set {text}: {error}.") from None
        keys.add(key.strip())
    return values, frozenset(keys)


def _replaced(values: dict[str, Any], parts: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = parts
    if not rest:
        return {**values, first: value}
    inner = values.get(first)
    if inner is not None and not isinstance(inner, dict):
        raise ValueError(f"{first} is not a section")
    return {**values, first: _replaced(inner or {}, rest, value)}


def _default_name(file: Path) -> str:
    return file.resolve().parent.name if file.name == RECIPE_FILE else file.stem


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "data": {"near_duplicates": "keep"},
        "evaluate": {"int8": False},
    },
    "best": {
        "method": {"rank": 16, "dropout": 0.1},
        "train": {"schedule": "cosine", "dropout": 0.1},
    },
}


def _of_kind(preset: str, kind: BaseKind) -> Mapping[str, Any]:
    """Return the values of a preset that depend on the kind of base, by dotted key."""
    if preset != "fast":
        return {}
    if kind is BaseKind.ENCODER:
        return {"method.freeze": -2}
    return {"train.epochs": 1}  # and so no evaluations, which generate texts


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values over those of its preset; the model reports an unknown preset."""
    preset = values.get("preset")
    return _over(values, PRESETS.get(preset, {}) if isinstance(preset, str) else {})


def _over(values: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, default in below.items():
        given = values.get(key)
        if key not in values:
            merged[key] = default
        elif isinstance(default, Mapping) and isinstance(given, Mapping):
            merged[key] = _over(given, default)
    return merged
