"""`hub predict --file`: predicts every row of a data file, a few calls at a time, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from hub.api.kinds.reader import FilteredRow, InvalidRow, RawRow
from hub.cli.screen.output import error_console, escape, print_json, progress, say
from hub.client.protocol import Client
from hub.data.profile.read_options import Reading, data_for
from hub.data.read.request_cells import UnusableCells, column_name, request_fields
from hub.data.read.sources import open_source
from hub.data.read.tables import open_table
from hub.errors import BadData, BadRequest, Overloaded
from hub.scale.answer_files import atomically, open_answers

__all__ = ["predict_file"]

ROWS_AT_ONCE = 64  # in one call
CALLS_AT_ONCE = 4
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # before the retries of a call that a busy server refused
MAX_FAILURES = 1000  # listed in JSON
SHOWN = 5  # failures that are printed
ERROR = "error"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row of the input, and its request or the reason that it has none."""

    line: int
    cells: Mapping[str, Any]
    request: Mapping[str, Any] | None
    reason: str = ""


def predict_file(
    client: Client, deployment: str, source: Path, out: Path, options: Reading, as_json: bool
) -> None:
    """Write the input's columns with those of the answer, or the reason that a row failed, to `out`.

    The file is read with the settings of the deployed version's training data; `options` override them.

    Raises:
        BadData: the file cannot be read, has none of the fields, or every row failed.
    """
    described = client.deployment(deployment)
    answer_columns = list(described["response"].get("properties", {}))
    request = described["request"]
    answered, failures = 0, _Failures()
    if not source.is_file():
        raise BadData(f"{source}: no such file.")
    recorded = described.get("reading") or {}
    cache = Path.cwd()  # unused: a local file needs no download
    data = data_for(str(source), request.get("required", []), recorded, options, cache)
    with (
        atomically(out) as partial,
        open_answers(partial, out.suffix) as answers,
        open_source(str(source), Path.cwd(), cache) as opened,
        progress(quiet=as_json) as show,
    ):
        table = open_table(opened.name, opened.stream, data)
        columns = {name: column_name(column, table.columns) for name, column in data.columns.items()}
        rows = (_input_row(row, request, columns, source.parent) for row in table.rows)
        stage, total = f"predict {deployment}", _estimated_rows(source)
        for row, answer in _answers(client, deployment, rows):
            fields, reason = _fields(row, answer, answer_columns)
            answers.add(fields)
            answered += not reason
            if reason:
                failures.add(row.line, reason)
            show(stage, answered + failures.count, total)
        show(stage, answered + failures.count, answered + failures.count)
        if not answered and failures.count:
            line, reason = failures.first[0]
            raise BadData(f"All {failures.count} rows failed. Line {line}: {reason}")
    _report(answered, failures, out, as_json)


@dataclass(slots=True)
class _Failures:
    """The number of rows without an answer, and line and reason of the first MAX_FAILURES."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        if len(self.first) < MAX_FAILURES:
            self.first.append((line, reason))


def _report(answered: int, failures: _Failures, out: Path, as_json: bool) -> None:
    if as_json:
        listed = [{"line": line, "reason": reason} for line, reason in failures.first]
        print_json({"answered": answered, "failed": failures.count, "output": str(out), "failures": listed})
        return
    say(f"{answered:,} rows answered, {failures.count:,} failed; wrote [bold]{escape(out)}[/].")
    for line, reason in failures.first[:SHOWN]:
        error_console().print(f"[yellow]line {line}[/]: {escape(reason)}")
    if failures.count > SHOWN:
        error_console().print(
            f"... and {failures.count - SHOWN:,} more; the column {ERROR!r} has every reason."
        )


def _input_row(
    row: RawRow | InvalidRow | FilteredRow,
    schema: Mapping[str, Any],
    columns: Mapping[str, str],
    folder: Path,
) -> InputRow:
    if not isinstance(row, RawRow):
        return InputRow(row.line, {}, None, row.reason)
    values = {str(key): value for key, value in row.values.items()}
    try:
        return InputRow(row.line, values, request_fields(values, schema, columns, folder))
    except UnusableCells as error:
        return InputRow(row.line, values, None, str(error))


def _answers(client: Client, deployment: str, rows: Iterator[InputRow]) -> Iterator[tuple[InputRow, Any]]:
    """Yield every row with its answer (None without a request) in order, keeping a few calls in flight."""
    with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
        ahead: deque[tuple[list[InputRow], Future[list[dict[str, Any]]]]] = deque()
        for batch in _batches(rows, ROWS_AT_ONCE):
            ahead.append((batch, threads.submit(_call, client, deployment, batch)))
            if len(ahead) >= CALLS_AT_ONCE:
                yield from _paired(*ahead.popleft())
        while ahead:
            yield from _paired(*ahead.popleft())


def _paired(batch: Sequence[InputRow], call: Future[list[dict[str, Any]]]) -> Iterator[tuple[InputRow, Any]]:
    answers = iter(call.result())
    for row in batch:
        yield row, None if row.request is None else next(answers)


def _call(client: Client, deployment: str, batch: Sequence[InputRow]) -> list[dict[str, Any]]:
    requests = [row.request for row in batch if row.request is not None]
    return _predict(client, deployment, requests) if requests else []


def _predict(client: Client, deployment: str, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Predict in one call; split a refused call in halves, down to single rows."""
    try:
        return _with_retries(client, deployment, requests)
    except BadRequest as error:
        if len(requests) == 1:
            return [dict(error.to_json())]
    middle = len(requests) // 2
    return [
        *_predict(client, deployment, requests[:middle]),
        *_predict(client, deployment, requests[middle:]),
    ]


def _with_retries(
    client: Client, deployment: str, requests: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Predict, with a few retries while the server is overloaded."""
    for pause in PAUSES_S:
        try:
            return client.predict(deployment, requests)
        except Overloaded:
            time.sleep(pause)
    return client.predict(deployment, requests)


def _fields(row: InputRow, answer: Any, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return one row of the output and the reason that it failed, or ""; input columns keep their names."""
    result = answer.get("result", {}) if answer else {}
    reason = row.reason or (answer["error"]["message"] if "error" in (answer or {}) else "")
    fields = dict(row.cells)
    for name in [*names, ERROR]:
        value = reason or None if name == ERROR else result.get(name)
        fields[f"predicted_{name}" if name in row.cells else name] = value
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
