"""Settings for reading a data file: from command line options, a version's training data, or sniffing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.api import Field, FieldKind
from hub.api.kinds.reader import RawRow
from hub.data.profile.sniff import Column, sniff_settings
from hub.data.read.encodings import is_utf8
from hub.data.read.folders import files_of, open_place
from hub.data.read.sources import open_source
from hub.data.read.tables import FileFolder, is_url
from hub.errors import BadData
from hub.recipe.recipe import Data, Part

__all__ = ["NOT_GIVEN", "Reading", "data_for", "like_version", "needed_fields"]

_GIVEN = ("encoding", "header", "delimiter", "separator")


@dataclass(frozen=True, slots=True)
class Reading:
    """Command line options for reading a file; None, or an absent column, if not given."""

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool | None = None
    encoding: str | None = None
    separator: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The given keys of a recipe's section `data`, without the columns."""
        return {key: value for key in _GIVEN if (value := getattr(self, key)) is not None}


NOT_GIVEN = Reading()


def needed_fields(fields: Sequence[Field]) -> list[str]:
    """Return the fields that a file of requests must have: required ones other than labels and answers."""
    kinds = (FieldKind.TEXT, FieldKind.TOKENS, FieldKind.NUMBER)
    return [one.name for one in fields if one.required and one.kind in kinds]


def data_for(
    source: str, needed: Sequence[str], recorded: Mapping[str, Any], given: Reading, cache: Path
) -> Data:
    """Return the settings for reading a source, with a column for each field that the source has.

    `recorded` are the settings that a version's training data was read with. They are used if the source has
    the columns that they name for the `needed` fields, or columns with the fields' names; otherwise the
    sniffed settings are used. `given` settings take precedence over both.

    Raises:
        BadData, SourceUnavailable: the source cannot be opened.
    """
    known = {"format": recorded["format"]} if recorded.get("format", "auto") != "auto" else {}
    found = sniff_settings(source, Path.cwd(), cache, given={**known, **given.settings})
    suggested = {"format": found["format"]} if "format" in found else {}
    recorded_file = {key: value for key, value in recorded.items() if key != "columns"}
    if "encoding" in recorded_file and _has_own_encoding(source, found, cache):
        del recorded_file["encoding"]
    columns = dict(recorded.get("columns", {}))
    first: Data | None = None
    candidates = [{**recorded_file, **suggested}, found]
    if recorded.get("header") is False and found.get("header", True):
        # The training file had no header; this file may have one, and its names precede positions.
        named = _columns(_data(source, {**found, **given.settings}, {}), source, cache)
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
    """Return the given options, completed by `data_for` from how a version's training data was read."""
    data = data_for(source, needed_fields(fields), recorded, given, cache)
    columns = {name: str(column) for name, column in data.columns.items()}
    return Reading(columns, data.delimiter, data.header, data.encoding, data.separator)


def _data(source: str, settings: Mapping[str, Any], columns: Mapping[str, Column]) -> Data:
    return Data.model_validate(
        {**settings, "source": (Part.model_validate({"from": source}),), "columns": columns}
    )


def _has_own_encoding(source: str, sniffed: Mapping[str, Any], cache: Path) -> bool:
    """Return whether a source reveals its encoding: by a byte order mark, or because all of it is UTF-8."""
    place = files_of(source, Path.cwd())[0]
    if "encoding" in sniffed or isinstance(place, FileFolder) or is_url(place):
        return True
    with open_source(place, Path.cwd(), cache) as file:
        return is_utf8(file.stream)


def _given_columns(given: Mapping[str, str], there: Sequence[Column]) -> dict[str, Column]:
    """Return the named columns; a number is a position unless it is the name of a column."""
    return {
        name: int(text) if text.isdecimal() and text not in there else text for name, text in given.items()
    }


def _applies(name: str, column: Column, there: Sequence[Column]) -> bool:
    """Return whether a file has a recorded column; the field's own name takes precedence over a position."""
    if isinstance(column, int) and column not in there:
        return name not in there and 0 <= column < len(there)
    return column in there


def _columns(data: Data, source: str, cache: Path) -> Sequence[Column]:
    """Return the columns of a source's first file, or the keys of its first row."""
    try:
        with open_place(files_of(source, Path.cwd())[0], Path.cwd(), data, cache) as table:
            if table.columns is not None:
                return table.columns
            row = next((row for row in table.rows if isinstance(row, RawRow)), None)
            return () if row is None else tuple(row.values)
    except BadData:
        return ()  # the file does not fit these settings; other settings may fit
