"""Writers of row files: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from hub.errors import BadRequest
from hub.files import replacing

__all__ = ["AnswerFile", "atomically", "open_answers"]

Row = Mapping[str, Any]
ROWS_AT_ONCE = 10_000  # of a Parquet file's row group


class AnswerFile(Protocol):
    """An output file to which rows are appended."""

    def add(self, row: Row) -> None:
        """Append a row."""


@contextmanager
def open_answers(path: Path, suffix: str) -> Iterator[AnswerFile]:
    """Open an output file in the format of `suffix`; it is complete when the block ends.

    Raises:
        BadRequest: the format is unknown.
    """
    kinds: dict[str, type[_JsonLines | _Delimited | _Parquet]] = {
        ".csv": _Delimited,
        ".tsv": _Delimited,
        ".jsonl": _JsonLines,
        ".parquet": _Parquet,
    }
    if suffix not in kinds:
        raise BadRequest(f"The output's name must end in one of {', '.join(kinds)}, not {suffix!r}.")
    file = kinds[suffix](path, suffix)
    try:
        yield file
        file.finish()
    finally:
        file.close()


@contextmanager
def atomically(out: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `out` if the block succeeds."""
    if not out.parent.is_dir():
        raise BadRequest(f"{out.parent} is not a folder.")
    with replacing(out) as partial:
        yield partial


class _JsonLines:
    def __init__(self, path: Path, suffix: str) -> None:
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")

    def add(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def finish(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Buffered:
    """Buffers rows in a temporary file until all columns are known; lists and objects become JSON."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path = path
        self.suffix = suffix
        self.kinds: dict[str, set[type]] = {}
        self._rows = tempfile.TemporaryFile(  # noqa: SIM115 - `close` closes it
            "w+", dir=path.parent, encoding="utf-8", errors="backslashreplace"
        )

    def add(self, row: Row) -> None:
        flat = {key: _flat(value) for key, value in row.items()}
        for key, value in flat.items():
            kinds = self.kinds.setdefault(key, set())
            if value is not None:
                kinds.add(_kind(value))
        self._rows.write(json.dumps(flat, ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        self._rows.close()

    def rows(self) -> Iterator[dict[str, Any]]:
        self._rows.seek(0)
        return map(json.loads, self._rows)


class _Delimited(_Buffered):
    def finish(self) -> None:
        delimiter = "\t" if self.suffix == ".tsv" else ","
        with self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, list(self.kinds), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(self.rows())


class _Parquet(_Buffered):
    def finish(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {name: _arrow_type(pa, kinds) for name, kinds in self.kinds.items()}
        schema = pa.schema([(_text(name), kind) for name, kind in types.items()])
        rows = self.rows()
        with pq.ParquetWriter(self.path, schema) as writer:
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                columns = [
                    pa.array([_typed(row.get(name), kind == pa.string()) for row in batch], kind)
                    for name, kind in types.items()
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))


class _Long:
    """The kind of an int64 that not every float64 equals."""


def _arrow_type(pa: Any, kinds: set[type]) -> Any:
    """Return the Arrow type of a column whose values have these types; mixed types become text."""
    if not kinds:
        return pa.null()
    for known, made in (({bool}, pa.bool_()), ({int, _Long}, pa.int64()), ({int, float}, pa.float64())):
        if kinds <= known:
            return made
    return pa.string()


def _kind(value: Any) -> type:
    if not isinstance(value, int) or value.bit_length() <= 53:
        return type(value)
    return _Long if value.bit_length() <= 63 else str


def _typed(value: Any, is_text: bool) -> Any:
    return value if value is None or not is_text else _text(value)


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value


def _text(value: object) -> str:
    """Return a text that is valid UTF-8: JSON may hold half of a surrogate pair."""
    return str(value).encode("utf-8", "backslashreplace").decode()
