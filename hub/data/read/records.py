"""Formats of one record after another: JSON, JSON lines, CoNLL and Parquet."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

from hub.api.kinds.reader import InvalidRow, RawRow, Table, TableRow
from hub.data.read.class_labels import stored_features, with_names
from hub.data.read.encodings import not_utf8
from hub.data.read.label_studio import is_task, task_row
from hub.errors import BadData

__all__ = ["conll_rows", "json_lines", "json_table", "parquet_table"]

_ROWS_AT_ONCE = 2048
_BLANKS = " \t\r\n\v\f"  # ASCII white space
_SURROGATE = re.compile("[\ud800-\udfff]")


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Yield each line with its number; only CR and LF end a line, as texts contain other line separators."""
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline=None)
    for number, line in enumerate(text, 1):
        # Concatenated files have byte order marks in between.
        yield number, line.removeprefix("\ufeff").removesuffix("\n")


def _is_utf8(line: str) -> bool:
    return line.isascii() or not _SURROGATE.search(line)


def json_lines(stream: IO[bytes]) -> Iterator[RawRow | InvalidRow]:
    for number, line in _lines(stream):
        if not line.strip(_BLANKS):
            continue
        if not _is_utf8(line):
            yield InvalidRow(number, "is not UTF-8 text")
            continue
        try:
            value = json.loads(line)
        except RecursionError:
            yield InvalidRow(number, "is nested too deeply")
        except ValueError as error:
            yield InvalidRow(number, f"is not JSON: {getattr(error, 'msg', error)}")
        else:
            yield (
                RawRow(number, value)
                if isinstance(value, dict)
                else InvalidRow(number, "is not a JSON object")
            )


def conll_rows(stream: IO[bytes]) -> Iterator[RawRow | InvalidRow]:
    """Yield a row per sentence; a line has a token and its columns, and a blank line ends a sentence.

    `tokens` is the first column, `tags` the last; 0, 1, ... are the columns by position.
    """
    block: list[str] = []
    number = 0
    for number, line in _lines(stream):
        if line.strip(_BLANKS):
            block.append(line)
        elif block:
            yield from _sentence(number - len(block), block)
            block = []
    if block:
        yield from _sentence(number + 1 - len(block), block)


def _sentence(first: int, block: Sequence[str]) -> Iterator[RawRow | InvalidRow]:
    if not all(map(_is_utf8, block)):
        yield InvalidRow(first, "is not UTF-8 text")
        return
    # Tokens may contain no-break and other Unicode spaces.
    split = [line.split("\t") if "\t" in line else re.split(" +", line.strip(" ")) for line in block]
    width = len(split[-1])
    comment = [cells[0].startswith("#") and len(cells) != width for cells in split]
    cells = [row for row, skip in zip(split, comment, strict=True) if not skip and row[0] != "-DOCSTART-"]
    if odd := [row for row in cells if len(row) != width]:
        yield InvalidRow(first, f"has a line of {len(odd[0])} columns before one of {width}")
    elif cells and width < 2:
        yield InvalidRow(first, "has one column; a tag must follow each token")
    elif cells:
        columns = [list(column) for column in zip(*cells, strict=True)]
        yield RawRow(first, {"tokens": columns[0], "tags": columns[-1], **dict(enumerate(columns))})


def parquet_table(name: str, stream: IO[bytes]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(stream.read()))
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{name}: is not a Parquet file: {str(error).splitlines()[0].rstrip('.')}.") from None

    columns = file.schema_arrow.names
    if twice := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise BadData(f"{name}: has column {twice[0]!r} twice.")
    named = stored_features(file.schema_arrow)

    def rows() -> Iterator[RawRow | InvalidRow]:
        line = 0
        try:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    line += 1
                    yield RawRow(line, with_names(row, named) if named else row)
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"{name}: is damaged after row {line}: {str(error).splitlines()[0]}.") from None
        except (ValueError, OverflowError) as error:  # a text that is not UTF-8, a time that Python lacks
            raise BadData(f"{name}: has a value after row {line} that cannot be read: {error}.") from None

    return Table(name, tuple(columns), rows())


def json_table(name: str, stream: IO[bytes], squad: bool) -> Table:
    raw = stream.read()
    try:
        value = json.loads(raw.decode())
    except UnicodeDecodeError:
        raise not_utf8(name, raw) from None
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name}: is not JSON: {error}.") from None
    if isinstance(value, list) and not squad:
        return Table(name, None, (_object(number, item) for number, item in enumerate(value, 1)))
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        wanted = (
            "SQuAD JSON ({'data': [{'paragraphs': ...}]})" if squad else "SQuAD JSON or a list of objects"
        )
        raise BadData(f"{name}: is not {wanted}.")
    return Table(name, ("id", "title", "context", "question", "answers"), _squad(value["data"]))


def _object(number: int, value: Any) -> TableRow:
    if not isinstance(value, dict):
        return InvalidRow(number, "is not an object")
    return task_row(number, value) if is_task(value) else RawRow(number, value)


def _squad(articles: Sequence[Any]) -> Iterator[RawRow | InvalidRow]:
    row = 0
    for article in articles:
        for paragraph in _items(article, "paragraphs"):
            for question in _items(paragraph, "qas"):
                row += 1
                if not isinstance(question, dict):
                    yield InvalidRow(row, "the question is not an object")
                    continue
                answers = [] if question.get("is_impossible") else question.get("answers", [])
                yield RawRow(
                    row,
                    {
                        "id": question.get("id"),
                        "title": article.get("title"),
                        "context": paragraph.get("context"),
                        "question": question.get("question"),
                        "answers": answers,
                    },
                )


def _items(parent: Any, key: str) -> Sequence[Any]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, list) else ()
