"""Parts are read and written block by block, so that a file of any size takes the same memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub.config import load_settings
from hub.errors import BadData, BadRequest, EngineFailed
from hub.registry.host import Registry
from hub.scale import parts
from hub.scale.inputs import BulkData, parts_of
from hub.scale.job import BulkJob
from hub.scale.outputs import OutputFolder
from hub.scale.parts import PartRunner
from hub.scale.rows import RowAnswer, RowRequest
from tests.scale.conftest import texts, write_parquet

BLOCK = 10


class CountingRows:
    """Answers blocks at once, and counts the rows that are asked and not written."""

    def __init__(self, answer: RowAnswer) -> None:
        self.tasks = [Registry.of(load_settings()).task("sentiment")]
        self.answer = answer
        self.asked = self.written = self.most = 0

    def submit(self, requests: Sequence[RowRequest]) -> Future[list[list[RowAnswer]]]:
        self.asked += len(requests)
        self.most = max(self.most, self.asked - self.written)
        found: Future[list[list[RowAnswer]]] = Future()
        found.set_result([[self.answer] * len(requests)])
        return found

    def on_rows(self, rows: int, size: int) -> None:
        self.written += rows


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "ROWS_PER_BLOCK", BLOCK)

    def run(source: Path, answer: RowAnswer, format: str = "") -> CountingRows:
        data, rows = BulkData(str(source)), CountingRows(answer)
        made = parts_of(data, {}, {"text": "text"}, format=format, rows_per_part=10_000)
        job = BulkJob(
            deployments=("mood",),
            versions=(),
            data="",
            output_format=format,
            columns={},
            reading={},
            parts=made,
        )
        runner = PartRunner(job, data, OutputFolder(str(tmp_path / "out")), rows)  # type: ignore[arg-type]
        for part in made:
            runner.run(part, rows.on_rows)
        return rows

    return run


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_few_rows_are_in_memory_whatever_the_size(runner, tmp_path, format) -> None:
    path = tmp_path / f"in.{format}"
    if format == "parquet":
        write_parquet(path, 500, group=500)
    else:
        line = "{}" if format == "csv" else '{{"text": "{}"}}'
        path.write_text("text\n" * (format == "csv") + "".join(f"{line}\n".format(one) for one in texts(500)))
    rows = runner(path, {"label": "positive"})
    assert rows.written == 500
    assert rows.most == parts.BLOCKS_AT_ONCE * BLOCK


def test_an_engine_that_fails_every_row_stops_the_job(runner, tmp_path) -> None:
    path = write_parquet(tmp_path / "in.parquet", 30)
    with pytest.raises(EngineFailed, match="broken"):
        runner(path, EngineFailed("The engine is broken."))
    assert not (tmp_path / "out" / "in.parquet").exists()
    assert runner(path, BadRequest("It is too long.")).written == 30


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_that_first_appears_in_a_late_row_is_kept(runner, tmp_path, packed) -> None:
    rows = [{"text": text} for text in texts(3 * BLOCK)] + [
        {"text": "late", "label": "mine", "errors": "none"}
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    source = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    source.write_bytes(gzip.compress(lines) if packed else lines)
    runner(source, {"label": "positive"})
    found = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert (found[-1]["label"], found[-1]["errors"], found[-1]["predicted_label"]) == (
        "mine",
        "none",
        "positive",
    )
    assert {row["predicted_label"] for row in found} == {"positive"}
    assert "label" not in found[0]


def test_a_column_that_is_there_twice_is_named(runner, tmp_path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    with pytest.raises(BadData, match=r"in\.parquet: has more than one column 'text'"):
        runner(path, {"label": "positive"})


def test_values_that_only_parquet_has_are_kept_there_and_named_elsewhere(runner, tmp_path) -> None:
    path, late = tmp_path / "in.parquet", pa.array([2**24], pa.date32())
    pq.write_table(pa.table({"text": ["a"], "day": late}), path)
    with pytest.raises(BadData, match=r"in\.parquet: the column 'day' .* Write Parquet"):
        runner(path, {"label": "positive"}, format="csv")
    runner(path, {"label": "positive"})
    assert pq.read_table(tmp_path / "out" / "in.parquet").column("day").combine_chunks() == late
