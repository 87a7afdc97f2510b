"""Files of rows that commands write: CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hub.errors import BadRequest

__all__ = ["AnswerFile", "atomically", "open_answers"]

Row = Mapping[str, Any]


class AnswerFile(Protocol):
    """An output file that takes one row after another."""

    def add(self, row: Row) -> None:
        """Append a row."""


@contextmanager
def open_answers(path: Path, suffix: str) -> Iterator[AnswerFile]:
    """Open an output file of the format that `suffix` names; it is complete when the block ends.

    Raises:
        BadRequest: no such format.
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
    """Yield a file beside `out` that takes its place if the block succeeds, and else goes away."""
    if not out.parent.is_dir():
        raise BadRequest(f"{out.parent} is not a folder.")
    descriptor, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}-")
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


class _JsonLines:
    def __init__(self, path: Path, suffix: str) -> None:
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")

    def add(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def finish(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Gathered:
    """Keeps the rows until the end, when all their columns are known; structures become JSON."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path = path
        self.suffix = suffix
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append({key: _flat(value) for key, value in row.items()})

    def close(self) -> None:
        self.rows = []

    def columns(self) -> Sequence[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row))


class _Delimited(_Gathered):
    def finish(self) -> None:
        delimiter = "\t" if self.suffix == ".tsv" else ","
        with self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, self.columns(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(self.rows)


class _Parquet(_Gathered):
    def finish(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: [row.get(name) for row in self.rows] for name in self.columns()}
        arrays = {name: _array(pa, values) for name, values in columns.items()}
        pq.write_table(pa.table(arrays), self.path)


def _array(pa: Any, values: Sequence[Any]) -> Any:
    """Make a column of the type its values have, or of text where they have several."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return pa.array([None if value is None else _text(value) for value in values])


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _text(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
