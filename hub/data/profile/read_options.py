"""How commands read a data file: by their options, as a version's training data, or by sniffing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.api import Field, FieldKind
from hub.data.profile.sniff import sniff_settings
from hub.data.read.encodings import is_utf8
from hub.data.read.folders import TextFolder, files_of
from hub.data.read.rows import RawRow
from hub.data.read.sources import is_hub, open_hub, open_source
from hub.data.read.tables import open_table
from hub.errors import BadData
from hub.recipe.recipe import Data, Part

__all__ = ["NOT_GIVEN", "Column", "Reading", "data_for", "like_version", "needed_fields"]

Column = str | int
_GIVEN = ("encoding", "header", "delimiter", "separator")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the command line says to read a file; None, or an absent column: not said."""

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool | None = None
    encoding: str | None = None
    separator: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of a recipe's section `data` that were given, without the columns."""
        return {key: value for key in _GIVEN if (value := getattr(self, key)) is not None}


NOT_GIVEN = Reading()


def needed_fields(fields: Sequence[Field]) -> list[str]:
    """Return the fields that a file must have to be asked: required ones that hold no label or answer."""
    asked = (FieldKind.TEXT, FieldKind.TOKENS, FieldKind.NUMBER)
    return [one.name for one in fields if one.required and one.kind in asked]


def data_for(
    source: str, needed: Sequence[str], recorded: Mapping[str, Any], given: Reading, cache: Path
) -> Data:
    """Return the settings that read a source, with a column for each field that the source has one for.

    `recorded` are settings that a version's training data was read with. They are used if the source has the
    columns that they name for the `needed` fields, or columns of the fields' own names; otherwise settings
    that a look at the source suggests are used, if these do. What is `given` goes before both.

    Raises:
        BadData, SourceUnavailable: the source cannot be opened.
    """
    found = sniff_settings(source, Path.cwd(), cache)
    suggested = {"format": found["format"]} if "format" in found else {}
    recorded_file = {key: value for key, value in recorded.items() if key != "columns"}
    if "encoding" in recorded_file and _has_own_encoding(source, found, cache):
        del recorded_file["encoding"]
    columns = dict(recorded.get("columns", {}))
    first: Data | None = None
    candidates = [{**recorded_file, **suggested}, found]
    if recorded.get("header") is False and found.get("header", True):
        # The training file had no header; this one may have one, and its names go before positions.
        named = _columns(_data(source, found, {}), source, cache)
        if all(name in named for name in needed):
            candidates.reverse()
    for candidate in candidates:
        settings = {**candidate, **given.settings}
        there = _columns(_data(source, settings, {}), source, cache)
        kept = {name: column for name, column in columns.items() if _applies(name, column, there)}
        known = {**kept, **_given_columns(given.columns, there)}
        data = _data(source, settings, known)
        if all(name in known or name in there for name in needed):
            return data
        first = first or data
    assert first is not None
    return first


def like_version(
    source: str, fields: Sequence[Field], recorded: Mapping[str, Any], given: Reading, cache: Path
) -> Reading:
    """Return what is given, completed by how a version's training data was read, as `data_for` decides."""
    data = data_for(source, needed_fields(fields), recorded, given, cache)
    columns = {name: str(column) for name, column in data.columns.items()}
    return Reading(columns, data.delimiter, data.header, data.encoding, data.separator)


def _data(source: str, settings: Mapping[str, Any], columns: Mapping[str, Column]) -> Data:
    return Data.model_validate(
        {**settings, "source": (Part.model_validate({"from": source}),), "columns": columns}
    )


def _has_own_encoding(source: str, sniffed: Mapping[str, Any], cache: Path) -> bool:
    """Return whether a source shows its encoding: by a byte order mark, or because it is UTF-8 as a whole."""
    place = files_of(source, Path.cwd())[0]
    if "encoding" in sniffed or isinstance(place, TextFolder) or is_hub(place):
        return True
    with open_source(place, Path.cwd(), cache) as file:
        return is_utf8(file.stream)


def _given_columns(given: Mapping[str, str], there: Sequence[Column]) -> dict[str, Column]:
    """Return the columns that were named; a number is a position unless a column is called so."""
    return {
        name: int(text) if text.isdecimal() and text not in there else text for name, text in given.items()
    }


def _applies(name: str, column: Column, there: Sequence[Column]) -> bool:
    """Return whether a file has a recorded column; a column with the field's name goes before a position."""
    if isinstance(column, int) and column not in there:
        return name not in there and 0 <= column < len(there)
    return column in there


def _columns(data: Data, source: str, cache: Path) -> Sequence[Column]:
    """Return the columns of a source's first file, or the keys of its first row."""
    place = files_of(source, Path.cwd())[0]
    if isinstance(place, TextFolder):
        return ("text", "label") if place.labelled else ("text",)
    if is_hub(place):
        with open_hub(place) as found:
            return found.columns
    with open_source(place, Path.cwd(), cache) as file:
        try:
            table = open_table(file.name, file.stream, data)
        except BadData:
            return ()  # of another form, as the other settings may find
        if table.columns is not None:
            return table.columns
        row = next((row for row in table.rows if isinstance(row, RawRow)), None)
        return () if row is None else tuple(row.values)
