"""A job that was stopped goes on where it was, and no other job mixes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from hub.errors import Conflict, EngineFailed
from hub.scale.parts import PartRunner
from tests.scale.conftest import write_parquet


def test_what_is_done_is_not_done_again(job, tmp_path, monkeypatch) -> None:
    for name in "abc":
        write_parquet(tmp_path / "in" / f"{name}.parquet", 5)
    run, seen = PartRunner.run, []

    def failing(self, part, *args, **options):
        seen.append(part.output)
        if part.output == "b.parquet" and len(seen) == 2:
            raise EngineFailed("The engine failed.")
        return run(self, part, *args, **options)

    monkeypatch.setattr(PartRunner, "run", failing)
    with pytest.raises(EngineFailed):
        job(tmp_path / "in")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("*.parquet")) == ["a.parquet"]
    written = (out / "a.parquet").stat()
    found = job(tmp_path / "in").to_json()
    assert seen == ["a.parquet", "b.parquet", "b.parquet", "c.parquet"]
    assert (found["answered"], found["resumed_files"], found["files"]) == (15, 1, 3)
    assert (out / "a.parquet").stat().st_mtime_ns == written.st_mtime_ns
    assert job(tmp_path / "in").to_json()["resumed_files"] == 3


@pytest.mark.parametrize("out", ["out", "out [new]"])
def test_a_name_that_looks_like_a_pattern_is_resumed(job, tmp_path, out) -> None:
    for name in ("report [final]", "report f", "what?"):
        write_parquet(tmp_path / "in" / f"{name}.parquet", 5)
    assert job(tmp_path / "in", out=out).to_json()["answered"] == 15
    found = job(tmp_path / "in", out=out).to_json()
    assert (found["answered"], found["resumed_files"]) == (15, 3)


def test_a_process_that_is_killed_leaves_whole_files(home, job, tmp_path) -> None:
    """Killed in the middle of the second file: it is not there, and the job goes on with it."""
    for name in "ab":
        write_parquet(tmp_path / "in" / f"{name}.parquet", 300)
    out = tmp_path / "out"
    code = f"""
import time
from hub.config import load_settings
from hub.scale import parts
from hub.scale.bulk import run_bulk, run_locally
from hub.scale.job import BulkRequest
parts.ROWS_PER_BLOCK = 20
def slow(job, request, settings, left, on_rows):
    def wait(rows, size):
        on_rows(rows, size)
        time.sleep(0.05)
    return run_locally(job, request, settings, left, wait)
request = BulkRequest(deployments=("mood",), data={str(tmp_path / "in")!r}, out={str(out)!r})
run_bulk(request, load_settings(), slow)
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    deadline = time.monotonic() + 120
    while not (out / "a.parquet").exists() or not list(out.glob(".b.parquet*")):
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "b.parquet").exists()
    found = job(tmp_path / "in").to_json()
    assert (found["answered"], found["resumed_files"]) == (600, 1)
    assert pq.read_table(out / "b.parquet").column("id").to_pylist() == list(range(300))
    assert not list(out.rglob(".*.part"))


def test_another_job_is_refused(job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    job(tmp_path / "in")
    for change in ({"format": "csv"}, {"columns": {"text": "id"}}, {"rows_per_part": 2}):
        if "rows_per_part" in change:
            write_parquet(tmp_path / "in" / "b.parquet", 5)
        with pytest.raises(Conflict, match=r"another job.*differ"):
            job(tmp_path / "in", **change)
    with pytest.raises(Conflict, match="deployments differ"):
        job(tmp_path / "in", "tone")
    with pytest.raises(Conflict, match="input files differ"):
        job(tmp_path / "in")


def test_a_record_that_is_none_is_refused(job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_job.json").write_text('{"format": 99}')
    with pytest.raises(Conflict, match="no record of a job"):
        job(tmp_path / "in")


def test_one_process_at_a_time(job, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / "_job.lock"), pytest.raises(Conflict, match="Another process"):
        job(tmp_path / "in")


def test_a_version_that_was_replaced_is_not_taken_for_the_pinned_one(home, job, tmp_path) -> None:
    path = tmp_path / "out" / "_job.json"
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    job(tmp_path / "in")
    sha256 = home.store.get("mood@1").sha256
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    with pytest.raises(Conflict, match="another content"):
        job(tmp_path / "in")


def test_partial_uploads_are_no_output(tmp_path: Path, job, monkeypatch) -> None:
    """At a URL without renames in one step, too, a file is there as a whole or not at all."""
    import fsspec

    memory = fsspec.filesystem("memory")
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    try:
        from hub.config import load_settings
        from hub.scale.bulk import run_bulk, run_locally
        from hub.scale.job import BulkRequest

        request = BulkRequest(deployments=("mood",), data=str(tmp_path / "in"), out="memory://bulk-test/out")
        found = run_bulk(request, load_settings(), run_locally).to_json()
        assert found["answered"] == 5
        assert run_bulk(request, load_settings(), run_locally).to_json()["resumed_files"] == 1
        names = {path.rpartition("/out/")[2] for path in memory.find("/bulk-test")}
        assert names == {"_job.json", "_done/a.parquet.json", "a.parquet"}
    finally:
        memory.rm("/bulk-test", recursive=True)
