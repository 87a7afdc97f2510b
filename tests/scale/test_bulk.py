"""Bulk jobs: every row is answered by the pinned versions, in the format of its file."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub.client.catalog import CatalogClient
from hub.config import load_settings
from hub.errors import BadData, BadRequest, Conflict, NotFound, SourceUnavailable
from hub.scale import parts
from hub.store.change import Deploy
from tests.scale.conftest import texts, write_parquet

ANSWER = ["label", "score", "labels", "scores"]


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def asked(deployment: str, some: list[str]) -> list[dict]:
    """Return what a client gets for the texts."""
    with CatalogClient(load_settings()) as client:
        return [answer["result"] for answer in client.predict(deployment, [{"text": text} for text in some])]


def test_every_row_has_the_answer_that_a_client_gets(job, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_BLOCK", 37)
    write_parquet(tmp_path / "in" / "a.parquet", 100, group=30)
    found = job(tmp_path / "in").to_json()
    assert (found["answered"], found["failed"], found["files"]) == (100, 0, 1)
    table = pq.read_table(tmp_path / "out" / "a.parquet")
    assert table.schema.field("id").type == pa.int16()
    assert table.schema.field("score").type == pa.float64()
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == list(range(100))
    for row, answer in zip(rows, asked("mood", texts(100)), strict=True):
        assert row["label"] == answer["label"]
        assert row["score"] == pytest.approx(answer["score"])
        assert json.loads(row["scores"]) == pytest.approx(answer["scores"])
        assert row["errors"] is None


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["in.csv", "in.tsv.gz", "in.jsonl", "in.parquet"])
def test_rows_of_each_format_become_rows_of_each_format(job, tmp_path, source, format) -> None:
    some = texts(5)
    kind = source.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        write_parquet(tmp_path / source, 5)
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = (
            [json.dumps({"id": row, "text": text}) for row, text in enumerate(some)]
            if kind == "jsonl"
            else [f"id{mark}text", *(f"{row}{mark}{text}" for row, text in enumerate(some))]
        )
        data = ("\n".join(lines) + "\n").encode()
        (tmp_path / source).write_bytes(gzip.compress(data) if source.endswith(".gz") else data)
    job(tmp_path / source, format=format)
    rows = read(tmp_path / "out" / f"in.{format}")
    assert [str(row["id"]) for row in rows] == ["0", "1", "2", "3", "4"]
    for row, answer in zip(rows, asked("mood", some), strict=True):
        assert (row["text"].strip(), row["label"]) == (some[int(row["id"])].strip(), answer["label"])
        assert float(row["score"]) == pytest.approx(answer["score"])
        assert not row["errors"]


def test_several_deployments_answer_in_one_pass(job, tmp_path) -> None:
    write_parquet(tmp_path / "a.parquet", 20)
    job(tmp_path / "a.parquet", "mood", "tone")
    rows = read(tmp_path / "out" / "a.parquet")
    for name in ("mood", "tone"):
        for row, answer in zip(rows, asked(name, texts(20)), strict=True):
            assert row[f"{name}.label"] == answer["label"]
            assert row[f"{name}.score"] == pytest.approx(answer["score"])
    assert [row["mood.score"] for row in rows] != [row["tone.score"] for row in rows]


def test_a_row_that_fails_is_kept_with_its_reason(job, tmp_path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "good"}\n{"text": ""}\n{broken\n{"text": 7}\n{"other": 1}\n{"text": "bad"}\n')
    found = job(path).to_json()
    assert (found["answered"], found["failed"]) == (2, 4)
    assert [failure["row"] for failure in found["failures"]] == [2, 3, 4, 5]
    rows = read(tmp_path / "out" / "in.jsonl")
    assert [bool(row["errors"]) for row in rows] == [False, True, True, True, True, False]
    assert [row["errors"].partition(":")[0] for row in rows[1:5]] == [
        "invalid_text",
        "bad_data",
        "bad_request",
        "bad_request",
    ]
    assert rows[4]["other"] == 1
    assert rows[1]["label"] is None
    assert rows[5]["label"]


def test_an_error_of_one_deployment_names_it(job, tmp_path, reader) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,question,context\nfine,who?,Ann saw it.\nfine,,Ann saw it.\n,who?,Ann saw it.\n")
    job(path, "mood", "reader")
    first, second, third = read(tmp_path / "out" / "in.csv")
    assert first["errors"] == ""
    assert second["errors"].startswith("reader: ")
    assert second["mood.label"]
    assert third["errors"].startswith("mood: ")
    assert third["reader.answer"] is not None


def test_columns_of_the_input_keep_their_names(job, tmp_path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("body,label,errors\nfine,mine,none\n")
    job(path, columns={"text": "body"})
    (row,) = read(tmp_path / "out" / "in.csv")
    assert (row["label"], row["errors"], row["predicted_errors"]) == ("mine", "none", "")
    assert row["predicted_label"] in ("negative", "positive")


def test_a_column_can_be_given_by_its_position(job, tmp_path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("7;fine\n8;bad\n")
    job(path, columns={"text": "1"}, reading={"header": False, "delimiter": ";"})
    assert [row["1"] for row in read(tmp_path / "out" / "in.csv")] == ["fine", "bad"]


def test_names_below_the_folder_are_kept_and_hidden_files_left_out(job, tmp_path) -> None:
    for name in ("x/a.parquet", "y/a.parquet", "_old/b.parquet", ".tmp.parquet"):
        write_parquet(tmp_path / "in" / name, 3)
    job(tmp_path / "in")
    out = tmp_path / "out"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.parquet")}
    assert written == {"x/a.parquet", "y/a.parquet"}


def test_a_large_parquet_file_is_written_in_parts(job, tmp_path) -> None:
    write_parquet(tmp_path / "a.parquet", 100, group=10)
    job(tmp_path / "*.parquet", rows_per_part=45)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert names == [f"a-0000{piece}-of-00003.parquet" for piece in range(3)]
    assert pq.read_table(tmp_path / "out").column("id").to_pylist() == list(range(100))


def test_an_empty_file_has_an_empty_file_of_answers(job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 0)
    write_parquet(tmp_path / "in" / "b.parquet", 2)
    assert job(tmp_path / "in").to_json()["answered"] == 2
    table = pq.read_table(tmp_path / "out" / "a.parquet")
    assert (table.num_rows, "label" in table.column_names) == (0, True)


@pytest.mark.parametrize(
    ("data", "options", "kind", "message"),
    [
        ("nothing/*.parquet", {}, BadData, "there is no file"),
        ("nothing", {}, BadData, "there is no file"),
        ("in.txt", {}, BadData, "unknown format"),
        ("broken.parquet", {}, BadData, "not a Parquet file"),
        ("ok.csv", {"columns": {"text": "body"}}, BadData, "no column 'body'.*It has: id, text"),
        ("ok.csv", {"columns": {"words": "text"}}, BadRequest, "no task .* has this field.*text"),
        ("other.csv", {}, BadData, "no column 'text'"),
        ("ok.csv", {"format": "xml"}, BadRequest, "parquet, csv, tsv, jsonl"),
        ("*.csv", {"format": "jsonl"}, BadData, "other.csv: has no column"),
        ("failing.csv", {}, BadData, "All 2 rows"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(job, tmp_path, data, options, kind, message) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "ok.csv").write_text("id,text\n1,fine\n")
    (tmp_path / "other.csv").write_text("id,words\n1,fine\n")
    (tmp_path / "failing.csv").write_text('id,text\n1,""\n2," "\n')
    with pytest.raises(kind, match=message):
        job(tmp_path / data, **options)
    assert not list((tmp_path / "out").rglob("*.csv"))
    if data != "failing.csv":
        assert not (tmp_path / "out").exists()


def test_a_name_that_leads_out_of_the_folder_is_refused(job, tmp_path, monkeypatch) -> None:
    """Keys of an object store may be anything."""
    found = {"bucket/in/../../b.jsonl": {"size": 10, "type": "file"}}
    monkeypatch.setattr("hub.scale.inputs._listed", lambda fs, path: ("bucket/in", found))
    with pytest.raises(BadData, match="no name that can be written"):
        job(tmp_path / "in")
    assert not (tmp_path / "out").exists()


def test_a_deployment_or_version_must_exist(job, tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 2)
    with pytest.raises(NotFound, match="mood"):
        job(path, "nobody")
    with pytest.raises(NotFound):
        job(path, "mood@7")
    with pytest.raises(BadRequest, match="twice"):
        job(path, "mood", "mood")
    assert job(path, "mood@1").to_json()["versions"][0]["version"] == "mood@1"


def test_an_output_that_cannot_be_written_is_refused(job, tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceUnavailable, match="cannot be"):
        job(path, out="file/out")
    with pytest.raises(BadRequest, match="folder of the data"):
        job(tmp_path, out="out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(Conflict, match=r"not empty \(it has mine.txt\)"):
        job(path, out="full")


def test_a_deployment_that_moves_does_not_change_the_answers(home, job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 10)
    write_parquet(tmp_path / "in" / "b.parquet", 10)
    job(tmp_path / "in")
    before = read(tmp_path / "out" / "b.parquet")
    (tmp_path / "out" / "b.parquet").unlink()
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=9).ref, by="test"))
    found = job(tmp_path / "in").to_json()
    assert (found["resumed_files"], found["versions"][0]["version"]) == (1, "mood@1")
    assert read(tmp_path / "out" / "b.parquet") == before
    job(tmp_path / "in", out="later")
    assert read(tmp_path / "later" / "b.parquet") != before


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "data[1].parquet", 3, group=3)
    write_parquet(tmp_path / "in" / "data1.parquet", 2, group=2)
    found = job(tmp_path / "in" / "data[1].parquet").to_json()
    assert (found["answered"], found["files"]) == (3, 1)
    assert (tmp_path / "out" / "data[1].parquet").is_file()
