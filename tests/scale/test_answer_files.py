"""Answer files are written incrementally, with columns and types that are known only at the end."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hub.scale import answer_files
from hub.scale.answer_files import open_answers

ROWS: list[dict[str, Any]] = [
    {"id": n, "score": n / 2 if n % 2 else n, "mixed": n if n % 3 else "x", "empty": None, "list": [n]}
    for n in range(20)
] + [{"id": 2**70, "late": True}]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(answer_files, "ROWS_AT_ONCE", 7)
    path = tmp_path / f"out{suffix}"
    with open_answers(path, suffix) as answers:
        for row in ROWS:
            answers.add(row)
    found = read(path)
    assert len(found) == len(ROWS)
    assert [str(row["id"]) for row in found] == [str(row["id"]) for row in ROWS]
    assert float(found[3]["score"]) == 1.5
    assert str(found[-1]["late"]) == "True"
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]
    if suffix == ".parquet":
        assert pq.ParquetFile(path).num_row_groups == 3
        assert found[0]["mixed"] == "x"
        assert found[1]["mixed"] == "1"
        assert json.loads(found[1]["list"]) == [1]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["half \ud83d", "\u00e9"], ["half \\ud83d", "\u00e9"]),
        ([2**60 + 1, 0.5], [str(2**60 + 1), "0.5"]),
        ([2**60 + 1, 1], [str(2**60 + 1), "1"]),
        ([[date(2026, 1, 2)], {"raw": b"ab"}], ['["2026-01-02"]', '{"raw": "b\'ab\'"}']),
    ],
)
def test_any_value_that_a_file_can_hold_is_written(
    tmp_path: Path, suffix: str, values: Any, shown: Any
) -> None:
    path = tmp_path / f"out{suffix}"
    with open_answers(path, suffix) as answers:
        for value in values:
            answers.add({"value": value})
    if suffix == ".jsonl":
        assert len(read(path)) == len(values)
    else:
        assert [str(row["value"]) for row in read(path)] == shown


def test_a_name_of_a_column_that_is_no_utf8_is_written_as_its_escape(tmp_path: Path) -> None:
    with open_answers(tmp_path / "out.parquet", ".parquet") as answers:
        answers.add({"a\udc80": 1})
    assert read(tmp_path / "out.parquet") == [{"a\\udc80": 1}]


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
