"""The thread that works on jobs: which it takes, how many at once, and what it does when a process ends."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from hub.config import Settings, load_settings
from hub.errors import BadAdapter
from hub.jobs.folder import JobFolder
from hub.jobs.process import JobStage, Order
from hub.jobs.runner import MAX_ATTEMPTS, MAX_CRASHES, RETRY_S, JobRunner
from hub.store.jobs.files import Files, NewFile
from hub.store.jobs.jobs import Jobs, NewEvent
from hub.store.jobs.records import EventKind, JobSpec, JobStatus, Page, TrainingJob
from hub.store.store import Store
from tests.support.waiting import until

SLEEP, DIE, END = "import time; time.sleep(60)", "import os; os.kill(os.getpid(), 9)", "pass"
RESULT = {"version": "mood@1", "gate": {"passed": True, "reason": "nothing was live"}}


class Desk:
    """A home with jobs, and runners whose processes run a line of Python instead of a job."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.store = settings, Store.of(settings)
        self.jobs, self.files = Jobs(self.store.catalog), Files(self.store.catalog, settings.home)
        self.code = SLEEP
        self.orders: list[Order] = []
        self.deployed: list[tuple[str, str]] = []
        self.problem: Exception | None = None
        monkeypatch.setattr(JobRunner, "_spawn", self.spawn)

    def spawn(self, order: Order) -> subprocess.Popen[bytes]:
        self.orders.append(order)
        return subprocess.Popen([sys.executable, "-c", self.code], process_group=0)

    def runner(self) -> JobRunner:
        runtime: Any = SimpleNamespace(ready=True, store=self.store, deploy=self.deploy)
        return JobRunner(runtime, self.settings)

    def deploy(self, name: str, change: Any) -> None:
        if self.problem:
            raise self.problem
        self.deployed.append((name, str(change.version)))

    def create(self, status: JobStatus = JobStatus.QUEUED, **spec: Any) -> TrainingJob:
        new = NewFile("a.csv", "csv", "fine-tune")
        file = self.files.add(self.files.stage(io.BytesIO(b"x"), "csv", 9), new, rows=1)
        job = self.jobs.create(JobSpec("tiny", "sentiment", "mood", file.id, **spec), 99)
        self.jobs.take(job.id, "check")
        self.jobs.advance(job.id, "check", status)
        return self.jobs.get(job.id)

    def ended(self, runner: JobRunner, job: TrainingJob) -> TrainingJob:
        """Let the runner work until a job has ended."""

        def done() -> bool:
            runner._work()
            return not self.jobs.get(job.id).is_active

        assert until(done, 30)
        return self.jobs.get(job.id)

    def folder(self, job: TrainingJob) -> JobFolder:
        return JobFolder(self.settings.home, job.id)


@pytest.fixture
def desk(_own_home: None, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(load_settings(flags={"serve": {"api_keys": ["a-secret-of-the-server"]}}), monkeypatch)


def test_one_job_at_a_time_is_trained_while_files_are_checked(desk: Desk) -> None:
    first, second, new = desk.create(), desk.create(), desk.create(JobStatus.VALIDATING)
    runner = desk.runner()
    runner._work()
    runner._work()
    started = [(order.job, order.stage) for order in desk.orders]
    assert started == [(first.id, JobStage.TRAIN), (new.id, JobStage.CHECK)]
    runner._stop()
    assert second.id not in dict(started)


def test_a_process_is_told_no_key_of_the_server(desk: Desk) -> None:
    desk.create()
    runner = desk.runner()
    runner._work()
    [order] = desk.orders
    assert order.settings.serve.api_keys == () and desk.settings.serve.api_keys
    told = Order.from_line(order.to_line())
    assert (told.job, told.stage, told.settings.home) == (order.job, JobStage.TRAIN, desk.settings.home)
    runner._stop()


def test_replicas_share_the_jobs_and_take_over_from_one_that_died(desk: Desk) -> None:
    job = desk.create()
    one, two = desk.runner(), desk.runner()
    one._work()
    two._work()
    assert len(desk.orders) == 1
    [run] = one._runs.values()
    run.process.kill()
    run.process.wait()
    for lock in run.locks:  # as the operating system does for a process that dies
        lock.release()
    two._work()
    assert [order.job for order in desk.orders] == [job.id, job.id]
    assert desk.jobs.get(job.id).attempts == 3
    two._stop()
    assert desk.jobs.get(job.id).attempts == 2


def test_a_job_whose_process_dies_is_tried_again_and_then_fails(desk: Desk) -> None:
    job, desk.code = desk.create(), DIE
    done = desk.ended(desk.runner(), job)
    assert len(desk.orders) == MAX_CRASHES
    assert done.status is JobStatus.FAILED and done.error
    assert done.error["code"] == "process_ended" and "SIGKILL" in done.error["message"]
    assert not desk.folder(job).path.exists()


def test_a_job_that_is_started_again_and_again_fails(desk: Desk) -> None:
    job = desk.create()
    for number in range(MAX_ATTEMPTS):
        desk.jobs.take(job.id, str(number))
    done = desk.ended(desk.runner(), job)
    assert done.status is JobStatus.FAILED and desk.orders == []


def test_where_no_process_can_be_started_the_next_attempt_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, runner = desk.create(), desk.runner()
    before = desk.jobs.get(job.id).attempts

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(JobRunner, "_spawn", fail)
        with pytest.raises(OSError, match="allocate"):
            runner._work()
        runner._work()
    assert desk.jobs.get(job.id).attempts == before + 1 and desk.orders == []
    monkeypatch.setattr("hub.jobs.runner.time.monotonic", lambda: time.monotonic_ns() / 1e9 + RETRY_S)
    runner._work()
    assert len(desk.orders) == 1  # the locks of the failed attempt were given back
    runner._stop()


def test_a_cancelled_job_ends_with_its_process(desk: Desk) -> None:
    job, runner = desk.create(), desk.runner()
    runner._work()
    [run] = runner._runs.values()
    desk.jobs.cancel(job.id)
    runner._work()
    assert run.process.returncode == -9
    assert not desk.folder(job).path.exists() and runner._runs == {}


@pytest.mark.parametrize(
    ("gate", "problem", "live"),
    [
        (RESULT["gate"], None, True),
        ({"passed": False, "reason": "worse"}, None, False),
        (RESULT["gate"], BadAdapter("It does not load."), False),
        (RESULT["gate"], ZeroDivisionError("a fault"), False),
    ],
)
def test_what_passes_the_gate_is_deployed_and_what_does_not_is_only_stored(
    desk: Desk, gate: dict[str, Any], problem: Exception | None, live: bool
) -> None:
    job, desk.code, desk.problem = desk.create(deploy="mood"), END, problem
    folder = desk.folder(job)
    folder.make()
    folder.write_result({**RESULT, "gate": gate})
    done = desk.ended(desk.runner(), job)
    assert (done.status, done.result["version"]) == (JobStatus.SUCCEEDED, "mood@1")
    assert done.result["deploy"]["live"] is live
    assert desk.deployed == ([("mood", "mood@1")] if live else [])
    newest = desk.jobs.events(job.id, Page(1), (EventKind.MESSAGE,))[0]
    assert newest.level == ("info" if live else "warn")


def test_a_failure_that_a_process_reported_after_it_stored_a_version_holds_no_other_job(desk: Desk) -> None:
    job, desk.code, runner = desk.create(deploy="mood"), SLEEP, desk.runner()
    runner._work()
    [run] = runner._runs.values()
    run.folder.write_result({"version": "mood@1"})
    error = {"code": "internal", "message": "It failed.", "param": None}
    desk.jobs.finish(job.id, run.owner, error=error, event=NewEvent("It failed."))
    run.process.kill()
    run.process.wait()
    run.process.returncode = 0
    second, desk.code = desk.create(), END
    runner._work()
    assert [order.job for order in desk.orders] == [job.id, second.id]
    assert desk.jobs.get(job.id).status is JobStatus.FAILED and not desk.folder(job).path.exists()
    runner._stop()


def test_what_a_dead_server_left_of_ended_jobs_is_removed(desk: Desk) -> None:
    job, kept = desk.create(), desk.create()
    for each in (job, kept):
        desk.folder(each).make()
    desk.jobs.cancel(job.id)
    runner = desk.runner()
    runner._work()
    assert not desk.folder(job).path.exists() and desk.folder(kept).path.exists()
    runner._stop()


def test_a_job_whose_file_is_on_another_machine_is_left_there(desk: Desk) -> None:
    job = desk.create()
    desk.files.path(desk.files.get(job.spec.training_file)).unlink()
    desk.runner()._work()
    assert desk.orders == []


def test_without_slots_no_job_is_started(_own_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(load_settings(flags={"jobs": {"concurrent": 0}}), monkeypatch)
    desk.create(JobStatus.VALIDATING)
    desk.runner()._work()
    assert desk.orders == []
