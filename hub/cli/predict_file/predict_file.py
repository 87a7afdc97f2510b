"""`hub predict --file`: every row of a data file asked, a few calls at a time, answers in order."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from hub.cli.predict_file.answer_files import atomically, open_answers
from hub.cli.screen.output import error_console, escape, print_json, progress, say
from hub.client.protocol import Client
from hub.data.profile.read_options import Reading, data_for
from hub.data.read.rows import FilteredRow, InvalidRow, RawRow
from hub.data.read.sources import open_source
from hub.data.read.tables import open_table
from hub.errors import BadData, BadRequest, Overloaded

__all__ = ["predict_file"]

ROWS_AT_ONCE = 64  # in one call
CALLS_AT_ONCE = 4
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # before a call that a busy server refused is made again
MAX_FAILURES = 1000  # that are listed in JSON
SHOWN = 5  # bad rows that are named on the screen
ERROR = "error"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of the input, and its request or the reason there is none."""

    line: int
    row: Mapping[str, Any]
    request: Mapping[str, Any] | None
    reason: str = ""


def predict_file(
    client: Client, deployment: str, source: Path, out: Path, given: Reading, as_json: bool
) -> None:
    """Write the input's columns with the answer's, and the reason for a row that has none, to `out`.

    The file is read as `given`, or as the training data of the deployed version.

    Raises:
        BadData: the file cannot be read, has none of the fields, or not one row could be answered.
    """
    described = client.deployment(deployment)
    answer_columns = list(described["response"].get("properties", {}))
    request = described["request"]
    answered, bad = 0, _Bad()
    if not source.is_file():
        raise BadData(f"{source}: there is no such file.")
    recorded = described.get("reading") or {}
    cache = Path.cwd()  # a local file needs none
    data = data_for(str(source), request.get("required", []), recorded, given, cache)
    with (
        atomically(out) as partial,
        open_answers(partial, out.suffix) as answers,
        open_source(str(source), Path.cwd(), cache) as opened,
        progress(quiet=as_json) as show,
    ):
        table = open_table(opened.name, opened.stream, data)
        columns = {name: _named(column, table.columns) for name, column in data.columns.items()}
        rows = (_asked(row, request, columns) for row in table.rows)
        stage, total = f"predict {deployment}", _estimated_rows(source)
        for asked, answer in _answered(client, deployment, rows):
            fields, reason = _fields(asked, answer, answer_columns)
            answers.add(fields)
            answered += not reason
            if reason:
                bad.add(asked.line, reason)
            show(stage, answered + bad.count, total)
        show(stage, answered + bad.count, answered + bad.count)
        if not answered and bad.count:
            line, reason = bad.first[0]
            raise BadData(f"Not one of {bad.count} rows could be answered. Line {line}: {reason}")
    _report(answered, bad, out, as_json)


@dataclass(slots=True)
class _Bad:
    """Rows without an answer: how many, and the lines and reasons of the first MAX_FAILURES."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        if len(self.first) < MAX_FAILURES:
            self.first.append((line, reason))


def _report(answered: int, bad: _Bad, out: Path, as_json: bool) -> None:
    if as_json:
        failures = [{"line": line, "reason": reason} for line, reason in bad.first]
        print_json({"answered": answered, "failed": bad.count, "output": str(out), "failures": failures})
        return
    say(f"{answered:,} rows answered, {bad.count:,} not; written to [bold]{escape(out)}[/].")
    for line, reason in bad.first[:SHOWN]:
        error_console().print(f"[yellow]line {line}[/]: {escape(reason)}")
    if bad.count > SHOWN:
        error_console().print(f"... and {bad.count - SHOWN:,} more; the column {ERROR!r} has every reason.")


def _named(column: str | int, known: Sequence[str | int] | None) -> str:
    """Return a column by the name that its cells have in a row."""
    return str(known[column] if isinstance(column, int) and known and column < len(known) else column)


def _asked(
    row: RawRow | InvalidRow | FilteredRow, schema: Mapping[str, Any], columns: Mapping[str, str]
) -> Asked:
    if not isinstance(row, RawRow):
        return Asked(row.line, {}, None, row.reason)
    values = {str(key): value for key, value in row.values.items()}
    request = {}
    for name, about in schema["properties"].items():
        value = values.get(columns.get(name, name))
        if value is not None and (value != "" or name in schema.get("required", [])):
            request[name] = _typed(value, about)
    try:
        json.dumps(request, ensure_ascii=False).encode()
    except (UnicodeEncodeError, TypeError, ValueError):
        return Asked(row.line, values, None, "is not UTF-8 text, or no JSON value")
    return Asked(row.line, values, request)


def _typed(value: Any, about: Mapping[str, Any]) -> Any:
    """Turn a cell of text into the number or truth value that the field takes."""
    kinds = {about.get("type"), *(option.get("type") for option in about.get("anyOf", []))}
    if isinstance(value, str) and "string" not in kinds:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _answered(client: Client, deployment: str, rows: Iterator[Asked]) -> Iterator[tuple[Asked, Any]]:
    """Yield every row with its answer (None if it had no request), in order, a few calls ahead."""
    with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
        ahead: deque[tuple[list[Asked], Future[list[dict[str, Any]]]]] = deque()
        for batch in _batches(rows, ROWS_AT_ONCE):
            ahead.append((batch, threads.submit(_call, client, deployment, batch)))
            if len(ahead) >= CALLS_AT_ONCE:
                yield from _matched(*ahead.popleft())
        while ahead:
            yield from _matched(*ahead.popleft())


def _matched(batch: Sequence[Asked], call: Future[list[dict[str, Any]]]) -> Iterator[tuple[Asked, Any]]:
    answers = iter(call.result())
    for asked in batch:
        yield asked, None if asked.request is None else next(answers)


def _call(client: Client, deployment: str, batch: Sequence[Asked]) -> list[dict[str, Any]]:
    requests = [asked.request for asked in batch if asked.request is not None]
    return _ask(client, deployment, requests) if requests else []


def _ask(client: Client, deployment: str, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ask in one call; what is too much for one is asked in halves, down to single rows."""
    try:
        return _patiently(client, deployment, requests)
    except BadRequest as error:
        if len(requests) == 1:
            return [dict(error.to_json())]
    middle = len(requests) // 2
    return [*_ask(client, deployment, requests[:middle]), *_ask(client, deployment, requests[middle:])]


def _patiently(
    client: Client, deployment: str, requests: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Ask again, a few times, while the server is busy with others."""
    for pause in PAUSES_S:
        try:
            return client.predict(deployment, requests)
        except Overloaded:
            time.sleep(pause)
    return client.predict(deployment, requests)


def _fields(asked: Asked, answer: Any, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return one row of the output and why it has no answer; an input column keeps its name."""
    result = answer.get("result", {}) if answer else {}
    reason = asked.reason or (answer["error"]["message"] if "error" in (answer or {}) else "")
    fields = dict(asked.row)
    for name in [*names, ERROR]:
        value = reason or None if name == ERROR else result.get(name)
        fields[f"predicted_{name}" if name in asked.row else name] = value
    return fields, reason


def _estimated_rows(source: Path) -> int:
    """Estimate the rows of a file for the progress bar; 0 where that takes more than counting lines."""
    if source.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(source).num_rows)
    if source.suffix not in (".csv", ".tsv", ".jsonl"):
        return 0
    with source.open("rb") as file:
        lines = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
    return lines - (source.suffix != ".jsonl")


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch
