"""The readers of the formats and URL schemes that are built in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from hub.api import FetchRequest, NoOptions, Reader, ReadOptions, SourceFile, Table
from hub.data.read.delimited import delimited_table
from hub.data.read.packages import open_package
from hub.data.read.records import conll_rows, json_lines, json_table, parquet_table
from hub.data.read.sources import hub_table
from hub.data.read.text_files import text_files
from hub.data.read.translation_files import po_table, tmx_table

__all__ = [
    "ConllReader",
    "CsvReader",
    "HuggingFaceReader",
    "JsonLinesReader",
    "JsonReader",
    "PackageReader",
    "ParquetReader",
    "PoReader",
    "SquadReader",
    "TextsReader",
    "TmxReader",
    "TsvReader",
]


class CsvReader(Reader[NoOptions]):
    """Comma-separated values, with any delimiter."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return delimited_table(name, stream, "csv", options)


class TsvReader(Reader[NoOptions]):
    """Tab-separated values; quotes are ordinary text."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return delimited_table(name, stream, "tsv", options)


class JsonLinesReader(Reader[NoOptions]):
    """A JSON object in each line."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return Table(name, None, json_lines(stream))


class JsonReader(Reader[NoOptions]):
    """A list of JSON objects, Label Studio's export, or SQuAD."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return json_table(name, stream, squad=False)


class SquadReader(Reader[NoOptions]):
    """SQuAD's JSON, and no other."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return json_table(name, stream, squad=True)


class ConllReader(Reader[NoOptions]):
    """A token with its tags in each line, a blank line after each sentence."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return Table(name, None, conll_rows(stream))


class ParquetReader(Reader[NoOptions]):
    """Parquet files; integer class labels become their names."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return parquet_table(name, stream)


class PoReader(Reader[NoOptions]):
    """Translations of gettext."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return po_table(name, stream, options.encoding)


class TmxReader(Reader[NoOptions]):
    """Translation memories."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        return tmx_table(name, stream, options.languages)


class TextsReader(Reader[NoOptions]):
    """A folder with a text file for each row."""

    def read_folder(self, folder: Path, files: Sequence[Path], options: ReadOptions) -> Table:
        return text_files(folder, files, options.encoding)


class PackageReader(Reader[NoOptions]):
    """Files inside of Python packages."""

    def open_url(self, url: str, request: FetchRequest) -> AbstractContextManager[SourceFile]:
        return open_package(url, request)


class HuggingFaceReader(Reader[NoOptions]):
    """Data sets of the Hugging Face Hub."""

    def read_url(self, url: str, options: ReadOptions) -> Table:
        return hub_table(url)
