"""Answers the parts of a bulk job: reads a part in blocks, answers two at a time, writes it as a whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hub.api import Model
from hub.api.kinds.reader import RawRow, TableRow
from hub.data.read.request_cells import UnusableCells, request_fields
from hub.errors import BadData, EngineFailed, HubError
from hub.scale.answer_files import open_answers
from hub.scale.columns import AnswerColumns, arrow_column, arrow_type
from hub.scale.inputs import (
    BulkData,
    BulkPart,
    cells_of,
    columns_of,
    open_rows,
    parquet_file,
    record_batches,
)
from hub.scale.job import BulkJob
from hub.scale.outputs import OutputFolder
from hub.scale.rows import RowAnswer, RowRequest, Rows

__all__ = ["FailedRow", "PartDone", "PartRunner"]

ROWS_PER_BLOCK = 1024
BLOCKS_AT_ONCE = 2  # the next block is read and encoded while the engine runs the last rows of the one before
MAX_FAILURES = 5  # of a part, in its record

Cells = Mapping[str, Any]
OnRows = Callable[[int, int], None]
"""Called with the rows and the bytes of the input since the last call."""


class FailedRow(Model):
    """A row without an answer; `row` is its line, or in Parquet its number from 1 in the part."""

    row: int
    error: str


class PartDone(Model):
    """The record of a part that is done."""

    output: str
    rows: int
    failed: int
    failures: tuple[FailedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows with their requests; `batch` is the record batch of rows that are written with their types.

    `bytes` is how much of the input they took.
    """

    lines: Sequence[int]
    cells: Sequence[Cells]
    requests: Sequence[RowRequest]
    bytes: int
    batch: Any = None


class PartRunner:
    """Answers parts of a job, one after another, with `rows`."""

    def __init__(self, job: BulkJob, data: BulkData, output: OutputFolder, rows: Rows) -> None:
        self._job = job
        self._data = data
        self._output = output
        self._rows = rows
        self._schema = _merged([task.request.model_json_schema() for task in rows.tasks])
        self._responses = [task.response.model_json_schema(mode="serialization") for task in rows.tasks]

    def run(
        self, part: BulkPart, on_rows: OnRows = lambda rows, bytes: None, *, first: bool = False
    ) -> PartDone:
        """Answer a part and write it; `first`: no row of the job has an answer yet.

        Raises:
            BadData: the file is damaged; or all its rows failed, and it is the `first`.
            HubError: no row can be answered now, whatever it has; the part can be done again.
        """
        done, failed, failures = 0, 0, list[FailedRow]()
        with self._output.writing(part.output) as (aside, record), self._blocks(part) as blocks:
            with self._writer(part, aside) as write:
                for block, answers in self._answered(blocks):
                    columns = write(block, answers)
                    done += len(block.lines)
                    for line, errors in zip(block.lines, columns, strict=True):
                        if errors:
                            failed += 1
                            if len(failures) < MAX_FAILURES:
                                failures.append(FailedRow(row=line, error=errors))
                    on_rows(len(block.lines), block.bytes)
            if first and failed and failed == done:
                raise BadData(
                    f"All {failed:,} rows of {part.output} failed. Row {failures[0].row}: {failures[0].error}"
                )
            found = PartDone(output=part.output, rows=done, failed=failed, failures=tuple(failures))
            record(found.model_dump(mode="json"))
        return found

    def _answered(self, blocks: Iterator[_Block]) -> Iterator[tuple[_Block, list[list[RowAnswer]]]]:
        ahead: deque[tuple[_Block, Future[list[list[RowAnswer]]]]] = deque()
        try:
            for block in blocks:
                ahead.append((block, self._rows.submit(block.requests)))
                if len(ahead) >= BLOCKS_AT_ONCE:
                    yield _result(*ahead.popleft())
            while ahead:
                yield _result(*ahead.popleft())
        finally:
            for _, future in ahead:
                future.cancel()

    @contextmanager
    def _blocks(self, part: BulkPart) -> Iterator[Iterator[_Block]]:
        if part.file.format == "parquet":
            with parquet_file(self._data, part.file) as opened:
                yield self._batches(opened, part)
            return
        with open_rows(self._data, part.file, self._job.reading) as (table, stream):
            yield self._table(table.rows, stream, part)

    def _batches(self, opened: Any, part: BulkPart) -> Iterator[_Block]:
        row = 0
        wanted = {self._job.columns.get(name, name) for name in self._schema["properties"]}
        for batch in record_batches(opened, part, ROWS_PER_BLOCK):
            cells = cells_of(batch, part.file, wanted)
            lines = range(row + 1, row + 1 + batch.num_rows)
            row += batch.num_rows
            size = part.bytes * batch.num_rows // max(part.rows, 1)
            yield _Block(lines, cells, [self._request(one, part) for one in cells], size, batch)

    def _table(self, rows: Iterator[TableRow], stream: Any, part: BulkPart) -> Iterator[_Block]:
        at = 0
        while chunk := list(islice(rows, ROWS_PER_BLOCK)):
            cells = [
                {str(key): value for key, value in row.values.items()} if isinstance(row, RawRow) else {}
                for row in chunk
            ]
            requests = [
                self._request(one, part) if isinstance(row, RawRow) else f"line {row.line} {row.reason}"
                for row, one in zip(chunk, cells, strict=True)
            ]
            before, at = at, stream.tell()
            yield _Block([row.line for row in chunk], cells, requests, at - before)

    def _request(self, cells: Cells, part: BulkPart) -> RowRequest:
        folder = Path(part.file.path).parent if self._data.is_local else None
        try:
            return request_fields(cells, self._schema, self._job.columns, folder)
        except UnusableCells as error:
            return str(error)

    def _writer(self, part: BulkPart, aside: Path) -> AbstractContextManager[_Write]:
        format = part.output.rpartition(".")[2]
        if part.file.format == format == "parquet":
            return self._parquet_writer(part, aside)
        return self._row_writer(part, aside, f".{format}")

    @contextmanager
    def _parquet_writer(self, part: BulkPart, aside: Path) -> Iterator[_Write]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with parquet_file(self._data, part.file) as opened:
            before = opened.schema_arrow.remove_metadata()
        columns = self._columns(before.names)
        added = [pa.field(name, arrow_type(type)) for name, type in columns.types.items()]
        schema = pa.schema([*before, *added])

        def write(block: _Block, answers: list[list[RowAnswer]]) -> list[str | None]:
            rows = columns.rows(answers)
            arrays = [arrow_column([row[name] for row in rows], type) for name, type in columns.types.items()]
            writer.write_batch(pa.RecordBatch.from_arrays([*block.batch.columns, *arrays], schema=schema))
            return [row[columns.errors] for row in rows]

        with pq.ParquetWriter(aside, schema) as writer:
            yield write

    @contextmanager
    def _row_writer(self, part: BulkPart, aside: Path, suffix: str) -> Iterator[_Write]:
        columns = self._columns(columns_of(self._data, part.file, self._job.reading, rows=None))
        with open_answers(aside, suffix) as file:

            def write(block: _Block, answers: list[list[RowAnswer]]) -> list[str | None]:
                cells = block.cells if block.batch is None else cells_of(block.batch, part.file)
                rows = columns.rows(answers)
                for before, row in zip(cells, rows, strict=True):
                    file.add({**before, **row})
                return [row[columns.errors] for row in rows]

            yield write

    def _columns(self, taken: Any) -> AnswerColumns:
        return AnswerColumns(self._job.deployments, self._responses, taken)


_Write = Callable[[_Block, list[list[RowAnswer]]], list["str | None"]]
"""Writes a block with its answers; returns the error of each row."""


def _result(block: _Block, future: Future[list[list[RowAnswer]]]) -> tuple[_Block, list[list[RowAnswer]]]:
    """Wait for the answers of a block.

    Raises:
        EngineFailed: every row failed in the engine, so that it is not the rows' fault.
    """
    answers = future.result()
    flat = [answer for of_version in answers for answer in of_version]
    if len(flat) > 1 and all(isinstance(answer, EngineFailed) for answer in flat):
        raise flat[0] if isinstance(flat[0], HubError) else AssertionError
    return block, answers


def _merged(schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one schema of the fields of several tasks, in which a field is required if it is in one."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for schema in reversed(schemas):
        properties = {**properties, **schema["properties"]}
        required += schema.get("required", [])
    return {"properties": properties, "required": required}
