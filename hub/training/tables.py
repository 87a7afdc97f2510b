"""File formats: every row of a data file as a mapping, with the line it stands on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import IO, Any

from hub.api import MAX_TEXT
from hub.errors import BadData
from hub.training.recipe import Data
from hub.training.rows import BadRow, LeftRow, RawRow, Table
from hub.training.translations import po_table, tmx_table

__all__ = ["SUFFIXES", "BadRow", "LeftRow", "RawRow", "Table", "open_table"]

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".conll": "conll",
    ".po": "po",
    ".tmx": "tmx",
}
_ROWS_AT_ONCE = 2048


def open_table(name: str, stream: IO[bytes], data: Data, languages: tuple[str, str] | None = None) -> Table:
    """Return the rows of a data file whose format `data` says or its name tells.

    `languages` is the pair to read of a file that has several.

    Raises:
        BadData: the format is unknown, or the file as a whole is not of it.
    """
    kind = data.format if data.format != "auto" else _format_of(name)
    readers: dict[str, Callable[[], Table]] = {
        "jsonl": lambda: Table(name, None, _json_lines(stream)),
        "parquet": lambda: _parquet(name, stream),
        "conll": lambda: Table(name, None, _conll(stream)),
        "po": lambda: po_table(name, stream),
        "tmx": lambda: tmx_table(name, stream, languages),
        "json": lambda: _json(name, stream, squad=False),
        "squad": lambda: _json(name, stream, squad=True),
    }
    return readers[kind]() if kind in readers else _delimited(name, stream, kind, data)


def _format_of(name: str) -> str:
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    raise BadData(f"{name}: say data.format: the name ends in none of {', '.join(SUFFIXES)}.")


def _delimited(name: str, stream: IO[bytes], kind: str, data: Data) -> Table:
    quotes = data.quotes if data.quotes is not None else kind == "csv"
    # Bytes that are not UTF-8 become lone surrogates, which are found in the cell that has them.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_TEXT))
    reader = csv.reader(
        text,
        delimiter=data.delimiter or ("\t" if kind == "tsv" else ","),
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )
    first, rest = _peek(_cells(reader))
    if first is None:
        raise BadData(f"{name}: is empty.")
    if not data.header:
        width = len(first[1]) if isinstance(first, tuple) else 0
        return Table(name, tuple(range(width)), _rows(rest, range(width), "the first row"))
    header = [cell.strip() for cell in next(rest)[1]] if isinstance(first, tuple) else []
    if any(_is_surrogate(character) for cell in header for character in cell):
        raise BadData(f"{name}: is not UTF-8 text. Save it as UTF-8.")
    if not any(header):
        raise BadData(f"{name}: has no header line. If its first line is a row, say data.header: false.")
    if twice := sorted({cell for cell in header if header.count(cell) > 1}):
        raise BadData(f"{name}: column {twice[0]!r} occurs twice in the header.")
    return Table(name, tuple(header), _rows(rest, header, "the header"))


Cells = tuple[int, list[str]] | BadRow


def _cells(reader: Any) -> Iterator[Cells]:
    """Yield the line a row starts on and its cells; empty lines are no rows."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, f"is not a row: {error}")
            continue
        if cells:
            yield line, cells


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _peek(items: Iterator[Cells]) -> tuple[Cells | None, Iterator[Any]]:
    first = next(items, None)
    return first, items if first is None else chain([first], items)


def _rows(items: Iterator[Cells], header: Sequence[str | int], what: str) -> Iterator[RawRow | BadRow]:
    for item in items:
        if isinstance(item, BadRow):
            yield item
            continue
        line, cells = item
        if len(cells) == len(header):
            yield RawRow(line, dict(zip(header, cells, strict=True)))
        else:
            yield BadRow(line, f"has {len(cells)} cells where {what} has {len(header)}")


def _json_lines(stream: IO[bytes]) -> Iterator[RawRow | BadRow]:
    for line, raw in enumerate(stream, 1):
        if not raw.strip():
            continue
        try:
            value = json.loads(raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw)
        except UnicodeDecodeError:
            yield BadRow(line, "is not UTF-8 text")
        except RecursionError:
            yield BadRow(line, "is nested too deeply")
        except ValueError as error:
            yield BadRow(line, f"is not JSON: {getattr(error, 'msg', error)}")
        else:
            yield RawRow(line, value) if isinstance(value, dict) else BadRow(line, "is not a JSON object")


def _conll(stream: IO[bytes]) -> Iterator[RawRow | BadRow]:
    """Yield a row for each sentence: a token a line, columns parted by tabs or spaces, a blank line after.

    `tokens` is the first column, `tags` the last; 0, 1, ... is each of them.
    """
    block: list[bytes] = []
    for line, raw in enumerate(chain(stream, [b""]), 1):
        if raw.strip():
            block.append(raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw)
        elif block:
            yield from _sentence(line - len(block), block)
            block = []


def _sentence(first: int, block: Sequence[bytes]) -> Iterator[RawRow | BadRow]:
    try:
        lines = [raw.decode().rstrip("\r\n") for raw in block]
    except UnicodeDecodeError:
        yield BadRow(first, "is not UTF-8 text")
        return
    split = [line.split("\t") if "\t" in line else line.split() for line in lines]
    width = len(split[-1])
    comment = [cells[0].startswith("#") and len(cells) != width for cells in split]
    cells = [row for row, skip in zip(split, comment, strict=True) if not skip and row[0] != "-DOCSTART-"]
    if odd := [row for row in cells if len(row) != width]:
        yield BadRow(first, f"has a line of {len(odd[0])} columns before one of {width}")
    elif cells and width < 2:
        yield BadRow(first, "has one column; a tag is to follow each token")
    elif cells:
        columns = [list(column) for column in zip(*cells, strict=True)]
        yield RawRow(first, {"tokens": columns[0], "tags": columns[-1], **dict(enumerate(columns))})


def _parquet(name: str, stream: IO[bytes]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(stream.read()))
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{name}: is not a Parquet file: {str(error).splitlines()[0]}.") from None

    def rows() -> Iterator[RawRow | BadRow]:
        line = 0
        try:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    line += 1
                    yield RawRow(line, row)
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"{name}: is damaged after row {line}: {str(error).splitlines()[0]}.") from None

    return Table(name, tuple(file.schema_arrow.names), rows())


def _json(name: str, stream: IO[bytes], squad: bool) -> Table:
    try:
        value = json.load(stream)
    except UnicodeDecodeError:
        raise BadData(f"{name}: is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name}: is not JSON: {error}.") from None
    if isinstance(value, list) and not squad:
        numbered = enumerate(value, 1)
        return Table(
            name,
            None,
            (RawRow(n, v) if isinstance(v, dict) else BadRow(n, "is not an object") for n, v in numbered),
        )
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        wanted = (
            "SQuAD JSON ({'data': [{'paragraphs': ...}]})" if squad else "SQuAD JSON or a list of objects"
        )
        raise BadData(f"{name}: is not {wanted}.")
    return Table(name, ("id", "title", "context", "question", "answers"), _squad(value["data"]))


def _squad(articles: Sequence[Any]) -> Iterator[RawRow | BadRow]:
    """Yield one row for each question; rows are counted over the whole file."""
    row = 0
    for article in articles:
        for paragraph in _items(article, "paragraphs"):
            for question in _items(paragraph, "qas"):
                row += 1
                if not isinstance(question, dict):
                    yield BadRow(row, "the question is not an object")
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
