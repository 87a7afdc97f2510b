"""The process of a job, in this process: what it reports, and what it does with what another one left."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from hub.config import load_settings
from hub.errors import BadAdapter, NotReady
from hub.jobs.events import JobEvents
from hub.jobs.folder import JobFolder
from hub.jobs.process import JobStage, Order, _Run
from hub.jobs.result_file import metrics_csv
from hub.store.jobs.describe import describe_job
from hub.store.jobs.files import Files, NewFile
from hub.store.jobs.jobs import Jobs, NewEvent
from hub.store.jobs.records import EventKind, JobSpec, JobStatus, LostJob, Page
from hub.store.records import Version
from tests.support.homes import FakeHome
from tests.support.serving import home, tiny_base_folder

__all__ = ["home", "tiny_base_folder"]

OWNER = "one"
CHAT = '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}\n'


class Desk:
    """A home, and the process of a job in it."""

    def __init__(self, home: FakeHome) -> None:
        self.home, self.store = home, home.store
        self.jobs, self.files = Jobs(home.store.catalog), Files(home.store.catalog, home.path)

    def run(self, content: str, stage: JobStage, name: str = "a.csv", **spec: Any) -> _Run:
        format = name.partition(".")[2]
        staged = self.files.stage(io.BytesIO(content.encode()), format, 10_000)
        file = self.files.add(staged, NewFile(name, format, "fine-tune"), rows=1)
        job = self.jobs.create(JobSpec("tiny", "sentiment", "mood", file.id, **spec), 9)
        self.jobs.take(job.id, OWNER)
        folder = JobFolder(self.home.path, job.id)
        folder.make()
        return _Run(self.order(job.id, stage), self.store, folder)

    def order(self, job: str, stage: JobStage) -> Order:
        return Order(load_settings(), job, OWNER, stage, os.getpid())

    def events(self, run: _Run, *kinds: EventKind) -> list[Any]:
        return self.jobs.events(run.job.id, Page(99), kinds or (EventKind.MESSAGE,))


@pytest.fixture
def desk(home: FakeHome) -> Desk:
    return Desk(home)


def rows(line: str) -> str:
    return "".join(
        line % (f"{word} film {number}", word) for number in range(12) for word in ("warm", "dull")
    )


def test_good_files_are_counted_and_the_job_waits_for_its_turn(desk: Desk) -> None:
    run = desk.run("text,label\n" + rows("%s,%s\n"), JobStage.CHECK)
    run.work()
    assert desk.jobs.get(run.job.id).status is JobStatus.QUEUED
    newest = desk.events(run)[0]
    assert newest.data["rows"]["train"] + newest.data["rows"]["held_out"] == 24


def test_a_program_of_its_own_does_the_same(desk: Desk) -> None:
    """Not forked from one that has the libraries, as those of servers in tests are."""
    run = desk.run("text,label\n" + rows("%s,%s\n"), JobStage.CHECK)
    command = [
        sys.executable,
        "-c",
        "import runpy; runpy.run_module('hub.jobs.process', run_name='__main__')",
    ]
    order = desk.order(run.job.id, JobStage.CHECK)
    subprocess.run(command, input=order.to_line(), check=True, process_group=0)
    assert desk.jobs.get(run.job.id).status is JobStatus.QUEUED


def test_chats_are_read_by_a_task_that_has_other_columns(desk: Desk) -> None:
    run = desk.run(rows(CHAT), JobStage.CHECK, "a.jsonl")
    run.work()
    assert desk.jobs.get(run.job.id).status is JobStatus.QUEUED
    assert run._recipe().data.columns == {"text": "prompt", "label": "completion"}


def test_a_file_without_the_columns_of_the_task_fails_the_job(desk: Desk) -> None:
    run = desk.run("title,kind\nSECRET,x\n", JobStage.CHECK)
    run.work()
    job = desk.jobs.get(run.job.id)
    assert job.status is JobStatus.FAILED and job.error
    assert job.error == {
        "code": "bad_recipe",
        "message": "metadata.recipe.data.columns: training_file has no column 'text': name the column for it "
        '(The text), such as "recipe.data.columns.text": "NAME". Available: title, kind.',
        "param": "training_file",
    }


def test_errors_of_the_data_name_fields_of_the_request(desk: Desk) -> None:
    def error(content: str, **spec: Any) -> tuple[str, str]:
        run = desk.run(content, JobStage.CHECK, **spec)
        run.work()
        found = desk.jobs.get(run.job.id).error
        assert found
        return found["param"], found["message"]

    few = error("text,label\na film,good\nno film,bad\n")
    assert few[0] == "training_file" and few[1].endswith("Add rows, or set validation_file.")
    named = {"data.columns.text": "reviw"}
    asked = {"metadata": {"recipe.data.columns.text": "reviw"}}
    assert error("review,label\na,b\n", recipe=named, asked=asked) == (
        "metadata.recipe.data.columns.text",
        "metadata.recipe.data.columns.text: training_file has no column 'reviw'. Available: review, label.",
    )
    other = desk.files.add(
        desk.files.stage(io.BytesIO(b"title,label\na,good\n"), "csv", 99),
        NewFile("b.csv", "csv", "fine-tune"),
        1,
    )
    good = "text,label\n" + rows("%s,%s\n")
    same = desk.files.add(
        desk.files.stage(io.BytesIO(good.encode()), "csv", 9999), NewFile("c.csv", "csv", "fine-tune"), 24
    )
    assert error(good, validation_file=same.id) == (
        "validation_file",
        "Every held-out row is also a training row. Use other rows for validation_file.",
    )
    semicolons = error("text;label\na;b\n")
    assert semicolons[0] == "training_file"
    assert "Set metadata.recipe.data.delimiter to ';'" in semicolons[1]
    checked = error("text,label\n" + rows("%s,%s\n"), validation_file=other.id)
    assert checked[0] == "validation_file" and "validation_file has no column 'text'" in checked[1]


def test_a_version_that_another_process_stored_is_not_trained_again(desk: Desk) -> None:
    version = desk.home.add("mood")
    run = desk.run("text,label\n", JobStage.TRAIN, deploy="mood")
    run.folder.write_result({"version": str(version.ref)})
    run.work()
    assert run.folder.result["gate"] == {"passed": True, "reason": "nothing was live"}
    assert len(desk.store.versions("mood")) == 1


@pytest.mark.parametrize("fault", [BadAdapter("mood@1 is altered."), MemoryError()])
def test_a_version_about_which_the_gate_cannot_decide_is_not_deployed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("hub.training.gate.decide", fails)
    run = desk.run("text,label\n", JobStage.TRAIN, deploy="mood")
    run.folder.write_result({"version": str(desk.home.add("mood").ref)})
    run.work()
    gate = run.folder.result["gate"]
    assert not gate["passed"] and (str(fault) or "MemoryError") in gate["reason"]
    assert desk.jobs.get(run.job.id).is_active


def trained(version: Version) -> Any:
    """Return what training has returned for a job whose version is stored."""
    fitted = SimpleNamespace(
        history=[{"step": 1, "loss": 0.5}], tokens=9, steps=1, epochs=1.0, resumed_from=None
    )
    plan = SimpleNamespace(
        dataset=SimpleNamespace(train=[1], validation=[], held_out=[1]),
        recipe=SimpleNamespace(train=SimpleNamespace(epochs=1, batch_size=8)),
    )
    outcome = SimpleNamespace(fitted=fitted, metrics={"accuracy": 0.5})
    return SimpleNamespace(version=version, outcome=outcome, plan=plan, invalid=(), seconds=1.0)


@pytest.mark.parametrize("fault", [None, NotReady("no catalog"), OSError("No space left on device")])
def test_a_stored_version_whose_metrics_by_step_cannot_be_kept_is_no_failure(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    monkeypatch.setenv("HUB_JOBS__FILE_BYTES", "10")
    version = desk.home.add("mood")
    monkeypatch.setattr("hub.training.train.train", lambda *_, **named: trained(version))
    run = desk.run("text,label\n" + rows("%s,%s\n"), JobStage.TRAIN)
    if fault:
        monkeypatch.setattr(run.files, "add", Mock(side_effect=fault))
    run.work()
    job = desk.jobs.get(run.job.id)
    assert (job.error, run.folder.result["version"]) == (None, str(version.ref))
    desk.jobs.finish(job.id, OWNER, result=run.folder.result, event=NewEvent("done"))
    files = describe_job(desk.jobs.get(job.id))["result_files"]
    assert len(files) == (0 if fault else 1)


def test_a_cancelled_job_stops_its_process(desk: Desk) -> None:
    run = desk.run("text,label\n", JobStage.TRAIN)
    desk.jobs.cancel(run.job.id)
    with pytest.raises(LostJob):
        run.work()


def test_events_that_the_catalog_did_not_take_are_written_later(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = desk.run("text,label\n", JobStage.TRAIN)
    events = JobEvents(desk.jobs, run.job.id, OWNER, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "note", lambda *_: (_ for _ in ()).throw(NotReady("The catalog is gone.")))
        events.add(NewEvent("kept"))
        events.flush()
    events.flush()
    assert desk.events(run)[0].message == "kept"


def test_metrics_and_checkpoints_become_events(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("text,label\n", JobStage.TRAIN)
    events = JobEvents(desk.jobs, run.job.id, OWNER, tmp_path)
    events("train", 0, 40)
    events.scalars(10, {"train/loss": 0.5, "validation/accuracy": 0.75})
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    (tmp_path / "checkpoint-20").mkdir()  # not complete
    log = [{"loss": 0.5, "step": 10}, {"eval_accuracy": 0.75, "step": 10}]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    events.flush()
    events.flush()
    [metrics] = desk.events(run, EventKind.METRICS)
    assert metrics.data == {"step": 10, "total_steps": 40, "train_loss": 0.5, "valid_accuracy": 0.75}
    [checkpoint] = desk.events(run, EventKind.CHECKPOINT)
    assert checkpoint.data == {"step": 10, "metrics": {"train_loss": 0.5, "valid_accuracy": 0.75}}


def test_a_resumed_run_repeats_no_event(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("text,label\n", JobStage.TRAIN)
    for number in (10, 20):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text('{"log_history": []}')
        events = JobEvents(desk.jobs, run.job.id, OWNER, tmp_path)
        events.resume()
        for step in range(10, number + 1, 10):
            events.scalars(step, {"train/loss": 0.5})
        events.flush()
    events.scalars(20, {"validation/accuracy": 0.5})
    events.flush()
    assert [event.data["step"] for event in desk.events(run, EventKind.METRICS)] == [20, 20, 10]
    assert [event.data["step"] for event in desk.events(run, EventKind.CHECKPOINT)] == [20, 10]
    events.restart()
    events.scalars(10, {"train/loss": 0.5})
    events.flush()
    assert [event.data["step"] for event in desk.events(run, EventKind.METRICS)] == [10, 20, 20, 10]


def test_the_results_have_a_row_for_each_entry_of_the_log() -> None:
    text = metrics_csv([{"loss": 1.0, "epoch": 0.5, "step": 2}, {"step": 4, "eval_f1": 0.5}]).read().decode()
    assert text.splitlines() == ["step,epoch,loss,eval_f1", "2,0.5,1.0,", "4,,,0.5"]
