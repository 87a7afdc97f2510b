"""The input files of a bulk job: which there are, and the parts in which they are answered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import IO, Any

from hub.api import Model
from hub.api.kinds.reader import RawRow, Table
from hub.data.read.tables import open_table
from hub.errors import BadData, SourceUnavailable
from hub.recipe.recipe import Data
from hub.transfer.depot import file_system, shown_url

__all__ = [
    "FORMATS",
    "BulkData",
    "BulkPart",
    "InputFile",
    "cells_of",
    "columns_of",
    "open_rows",
    "parquet_file",
    "parts_of",
    "record_batches",
]

FORMATS = ("parquet", "csv", "tsv", "jsonl")
_MAGIC = frozenset("*?[")
_PACKED = ".gz"
_CHECKED_ROWS = 20  # of a file without a header, in which a column is looked for
_OPEN_AT_ONCE = 8
_STREAM_BYTES = 1 << 20  # read ahead of a Parquet column


class InputFile(Model):
    """A file: its path in the file system, and its name below the folder of the job's data."""

    path: str
    name: str
    bytes: int

    @property
    def format(self) -> str:
        """One of FORMATS, by the file's name."""
        return self.name.removesuffix(_PACKED).rpartition(".")[2].lower()


class BulkPart(Model):
    """What is answered and written as one: a file, or row groups of a Parquet file, the last one excluded.

    `rows` is 0 if it is not known before they are read.
    """

    file: InputFile
    output: str
    bytes: int
    rows: int = 0
    row_groups: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class BulkData:
    """The data of a job: a file, a folder or a pattern, at any URL that fsspec knows."""

    url: str

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return shown_url(self.url)

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine's disk."""
        return self.url.partition("://")[0] in (self.url, "file")

    def contains(self, url: str) -> bool:
        """Return whether a URL is in a folder that is read as a whole."""
        fs, path = file_system(self.url)
        other, place = file_system(url)
        return type(fs) is type(other) and not _MAGIC & set(path) and f"{place}/".startswith(f"{path}/")

    def files(self) -> list[InputFile]:
        """Return the files, by name.

        Raises:
            BadData: there is none, or one has an unknown format.
            SourceUnavailable: the URL cannot be reached.
            BadRequest, MissingExtra: as `file_system`.
        """
        fs, path = file_system(self.url)
        try:
            root, found = _listed(fs, path)
        except Exception as error:  # each file system raises the exceptions of its own library
            raise SourceUnavailable(f"{self.shown} cannot be listed: {type(error).__name__}.") from error
        if not found:
            raise BadData(
                f"{self.shown}: there is no file. Name a file, a folder or a pattern such as in/*.parquet."
            )
        files = [
            InputFile(path=place, name=place[len(root) :].lstrip("/"), bytes=int(about.get("size") or 0))
            for place, about in sorted(found.items())
        ]
        for file in files:
            if {"", ".", ".."} & set(file.name.split("/")):  # keys of an object store may be anything
                raise BadData(f"{file.name!r} is no name that can be written below another folder.")
            if file.format not in FORMATS:
                raise BadData(f"{file.name}: has an unknown format. Name files *.{', *.'.join(FORMATS)}.")
        return files


def parts_of(
    data: BulkData, reading: Mapping[str, Any], needed: Mapping[str, str], *, format: str, rows_per_part: int
) -> list[BulkPart]:
    """Return the parts of all files, after each file was opened and its columns were checked.

    `needed` has the column of each field that requests need. A Parquet file of more than `rows_per_part`
    rows has several parts; `format` is that of the output, "" for that of each file.

    Raises:
        BadData: a file cannot be read or lacks a column; or two files would be written to one.
    """
    files = data.files()

    def planned(file: InputFile) -> list[BulkPart]:
        if file.format == "parquet":
            return _row_groups(data, file, needed, format, rows_per_part)
        _require(file, columns_of(data, file, reading), needed)
        return [BulkPart(file=file, output=_output(file, format), bytes=file.bytes)]

    with ThreadPoolExecutor(_OPEN_AT_ONCE) as threads:
        parts = [part for found in threads.map(planned, files) for part in found]
    by_output: dict[str, str] = {}
    for part in parts:
        if part.output in by_output:
            raise BadData(
                f"{by_output[part.output]} and {part.file.name} would both be written to {part.output}. "
                "Rename one of them."
            )
        by_output[part.output] = part.file.name
    return parts


@contextmanager
def open_rows(
    data: BulkData, file: InputFile, reading: Mapping[str, Any]
) -> Iterator[tuple[Table, IO[bytes]]]:
    """Open a file that is read row by row; also yields its stream, whose position shows the progress.

    Raises:
        BadData: the file cannot be read.
        SourceUnavailable: it cannot be reached.
    """
    from fsspec.compression import compr

    with _opened(data, file) as raw:
        packed = file.name.endswith(_PACKED)
        stream = compr["gzip"](raw, mode="rb") if packed else raw
        settings = Data.model_validate({"source": file.name, "format": file.format, **reading})
        yield open_table(file.name.removesuffix(_PACKED), stream, settings), raw


@contextmanager
def parquet_file(data: BulkData, file: InputFile) -> Iterator[Any]:
    """Open a Parquet file, a `pyarrow.parquet.ParquetFile` that reads its columns piece by piece.

    Raises:
        BadData: it is not one, or it is damaged.
        SourceUnavailable: it cannot be reached.
    """
    import pyarrow.parquet as pq

    with _opened(data, file) as stream:
        with _whole(file):
            opened = pq.ParquetFile(stream, buffer_size=_STREAM_BYTES)
        yield opened


def record_batches(opened: Any, part: BulkPart, rows: int) -> Iterator[Any]:
    """Yield the record batches of a part, of at most so many rows; raises BadData if the file is damaged."""
    batches = opened.iter_batches(batch_size=rows, row_groups=range(*part.row_groups or (0, 0)))
    while True:
        with _whole(part.file):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def cells_of(batch: Any, file: InputFile, wanted: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a record batch as Python values; `wanted` names columns, None: all.

    Raises:
        BadData: a wanted column is there twice, or has a value that Python has not, such as a year 30,000.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if wanted is not None and name not in wanted:
            continue
        if wanted is not None and name in columns:
            raise BadData(f"{file.name}: has more than one column {name!r}. Rename all but one.")
        try:
            columns[name] = column.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise BadData(
                f"{file.name}: the column {name!r} has a value that can be kept in Parquet only "
                f"({type(error).__name__}). Write Parquet, or leave the column out."
            ) from None
    if not columns:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def columns_of(
    data: BulkData, file: InputFile, reading: Mapping[str, Any], rows: int | None = _CHECKED_ROWS
) -> list[str]:
    """Return the names of a file's columns; without a header, those of its first `rows`, None for all.

    Raises: as `open_rows` and `parquet_file`.
    """
    if file.format == "parquet":
        with parquet_file(data, file) as opened:
            return list(opened.schema_arrow.names)
    with open_rows(data, file, reading) as (table, _):
        if table.columns is not None:
            return [str(column) for column in table.columns]
        first = islice((row for row in table.rows if isinstance(row, RawRow)), rows)
        return list(dict.fromkeys(str(key) for row in first for key in row.values))


@contextmanager
def _whole(file: InputFile) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise BadData(f"{file.name}: is not a Parquet file, or is damaged: {reason}.") from None


@contextmanager
def _opened(data: BulkData, file: InputFile) -> Iterator[IO[bytes]]:
    fs, _ = file_system(data.url)
    try:
        stream = fs.open(file.path, "rb")
    except Exception as error:  # each file system raises the exceptions of its own library
        raise SourceUnavailable(f"{file.name} cannot be opened: {type(error).__name__}.") from error
    with stream:
        yield stream


def _listed(fs: Any, path: str) -> tuple[str, dict[str, Any]]:
    """Return the folder of the names, and the files below it; names that begin with . or _ are left out."""
    if _MAGIC & set(path) and not fs.isfile(path):
        folder = path[: min(path.index(mark) for mark in _MAGIC if mark in path)].rpartition("/")[0]
        found = {
            place: about for place, about in fs.glob(path, detail=True).items() if about["type"] == "file"
        }
        return folder, found
    try:
        about = fs.info(path)
    except FileNotFoundError:
        return path, {}
    if about["type"] == "file":
        return path.rpartition("/")[0], {path: about}
    found = fs.find(path, detail=True)
    return path, {place: about for place, about in found.items() if not _hidden(place[len(path) :])}


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.strip("/").split("/"))


def _row_groups(
    data: BulkData, file: InputFile, needed: Mapping[str, str], format: str, rows_per_part: int
) -> list[BulkPart]:
    with parquet_file(data, file) as opened:
        _require(file, opened.schema_arrow.names, needed)
        groups = [opened.metadata.row_group(index).num_rows for index in range(opened.num_row_groups)]
    cuts, rows = [0], 0
    for index, count in enumerate(groups):
        if rows and rows + count > rows_per_part:
            cuts.append(index)
            rows = 0
        rows += count
    cuts.append(len(groups))
    total, pieces = max(sum(groups), 1), len(cuts) - 1
    parts = []
    for number, (first, last) in enumerate(pairwise(cuts)):
        rows = sum(groups[first:last])
        parts.append(
            BulkPart(
                file=file,
                output=_output(file, format, f"-{number:05d}-of-{pieces:05d}" if pieces > 1 else ""),
                bytes=file.bytes * rows // total,
                rows=rows,
                row_groups=(first, last),
            )
        )
    return parts


def _output(file: InputFile, format: str, piece: str = "") -> str:
    stem = file.name.removesuffix(_PACKED).rpartition(".")[0]
    return f"{stem}{piece}.{format or file.format}"


def _require(file: InputFile, there: Sequence[str], needed: Mapping[str, str]) -> None:
    for field, column in needed.items():
        if column not in there:
            shown = ", ".join(there[:20]) or "none"
            raise BadData(
                f"{file.name}: has no column {column!r} for the field {field!r}. It has: {shown}. "
                f"Name one with --column {field}=COLUMN."
            )
