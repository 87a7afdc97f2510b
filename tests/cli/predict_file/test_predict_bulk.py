"""`hub predict --data` in this process, on the fake engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.cli.predict_file import predict_bulk
from hub.errors import BadData, BadRequest
from hub.scale.bulk import BulkProgress
from hub.scale.inputs import BulkPart, InputFile
from hub.scale.job import BulkJob
from hub.store.change import Deploy


@pytest.fixture(autouse=True)
def here(fake_home, tmp_path, monkeypatch) -> Path:
    """A folder with rows, and two deployments."""
    for name, seed in (("mood", 1), ("tone", 2)):
        fake_home.store.deploy(name, Deploy(version=fake_home.add(name, seed=seed).ref, by="t"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('review;n\na fine film;1\n"";2\n')
    return tmp_path


def hub(*args: str) -> str:
    result = CliRunner().invoke(app, ["predict", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


BULK = ("--data", "in", "--out", "out", "--column", "text=review", "--delimiter", ";")


def test_the_answers_of_all_rows_are_written(here) -> None:
    found = json.loads(hub("mood, tone", *BULK, "--json"))
    assert (found["answered"], found["failed"], found["output"]) == (1, 1, "out")
    assert [one["deployment"] for one in found["versions"]] == ["mood", "tone"]
    with (here / "out" / "a.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert good["mood.label"]
    assert good["tone.label"]
    assert bad["errors"].startswith("invalid_text: ")


def test_what_was_done_and_what_failed_is_printed() -> None:
    said = hub("mood", *BULK)
    assert "1 row answered, 1 failed; wrote 1 file to out" in said
    assert "a.csv, row 3: invalid_text" in said
    assert "1 of 1 files were done before." in hub("mood", *BULK)


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (["mood", "--data", "in"], BadRequest, "need each other"),
        (["mood", "--out", "out"], BadRequest, "Give one of"),
        (["mood", "a text", "--on", "ray"], BadRequest, "go with --data"),
        (["mood", "a text", "--data", "in", "--out", "out"], BadRequest, "Give one of"),
        (["mood", *BULK, "--stream"], BadRequest, "leave out --stream"),
        (["mood", *BULK, "--on", "moon"], BadRequest, "local or ray"),
        (["mood", *BULK, "--workers", "2"], BadRequest, "--on ray"),
        (["mood", "--data", "in/*.parquet", "--out", "out"], BadData, "there is no file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(here, args, kind, message) -> None:
    with pytest.raises(kind, match=message):
        hub(*args)
    assert not (here / "out").exists()


@pytest.mark.parametrize(("share", "told"), [(0.001, 1), (0.2, 0)])
def test_a_long_job_is_told_of_a_cluster_once(monkeypatch, capsys, share, told) -> None:
    """Hours are left after half a minute; a job of a minute is not worth the start."""
    now = {"s": 1.0}
    monkeypatch.setattr("hub.scale.bulk.time.perf_counter", lambda: now["s"])
    size = 1_000_000
    part = BulkPart(file=InputFile(path="a.csv", name="a.csv", bytes=size), output="a.csv", bytes=size)
    job = BulkJob(
        deployments=("mood",),
        versions=(),
        data="",
        output_format="",
        columns={},
        reading={},
        parts=(part,),
    )
    notes: list[str] = []
    shown = predict_bulk._Shown(lambda *shown: notes.append(shown[-1]), advises=True)  # type: ignore[arg-type]
    progress = BulkProgress(job, shown)
    for _ in range(5):
        progress.add(100, int(size * share))
        now["s"] += 10.0
    assert notes[-1].startswith("10 rows/s, ")
    assert capsys.readouterr().err.count("--on ray") == told
