"""Bulk jobs with their files on S3."""

from __future__ import annotations

import json

import fsspec
import pyarrow.parquet as pq
import pytest

from hub.config import load_settings
from hub.errors import BadData, SourceUnavailable
from hub.scale.bulk import BulkResult, run_bulk, run_locally
from hub.scale.job import BulkRequest
from tests.scale.conftest import write_parquet

pytestmark = pytest.mark.usefixtures("fresh_s3")


def run(data: str, out: str, *deployments: str) -> BulkResult:
    request = BulkRequest(deployments=deployments or ("mood",), data=data, out=out)
    return run_bulk(request, load_settings(), run_locally)


def test_rows_are_read_and_written_there(home, s3_url, tmp_path) -> None:
    fs, root = fsspec.core.url_to_fs(s3_url)
    write_parquet(tmp_path / "a.parquet", 50, group=20)
    fs.put_file(str(tmp_path / "a.parquet"), f"{root}/in/x/a.parquet")
    fs.pipe_file(f"{root}/in/b.jsonl", b'{"text": "good"}\n{"text": ""}\n')
    found = run(f"{s3_url}/in/**", f"{s3_url}/out", "mood", "tone").to_json()
    assert (found["answered"], found["failed"], found["files"]) == (51, 1, 2)
    with fs.open(f"{root}/out/x/a.parquet", "rb") as file:
        rows = pq.read_table(file).to_pylist()
    assert [row["id"] for row in rows] == list(range(50))
    assert all(row["mood.label"] and row["tone.label"] for row in rows)
    lines = fs.cat_file(f"{root}/out/b.jsonl").decode().splitlines()
    assert [bool(json.loads(line)["errors"]) for line in lines] == [False, True]
    fs.rm_file(f"{root}/out/b.jsonl")
    assert run(f"{s3_url}/in/**", f"{s3_url}/out", "mood", "tone").to_json()["resumed_files"] == 1
    assert fs.exists(f"{root}/out/b.jsonl")


def test_a_bucket_that_does_not_exist_is_not_made(home, s3_url, tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", 5)
    with pytest.raises(SourceUnavailable, match="s3://misspelt-bucket/out cannot be written"):
        run(str(path), "s3://misspelt-bucket/out")
    with pytest.raises((SourceUnavailable, BadData)):
        run("s3://misspelt-bucket/in/*.parquet", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    fs, _ = fsspec.core.url_to_fs(s3_url)
    assert not fs.exists("misspelt-bucket")
