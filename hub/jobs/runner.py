"""Starts, follows and ends the processes of jobs; a thread of each serving process.

Any serving process of this machine may take a job: it holds the lock of the job's folder while it works on
it, and the lock of a slot, so that only `jobs.concurrent` jobs are trained at once.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from hub.config import Settings, child_environment
from hub.errors import HubError, NotFound, log_fault
from hub.jobs.folder import JobFolder, free_slot, jobs_folder, try_lock
from hub.jobs.process import LOST, JobStage, Order
from hub.serving.background import PeriodicTask
from hub.serving.runtime import Runtime
from hub.store.change import Deploy
from hub.store.jobs.files import Files
from hub.store.jobs.jobs import Jobs, NewEvent
from hub.store.jobs.records import JobStatus, Level, LostJob, TrainingJob

__all__ = ["JobRunner"]

log = logging.getLogger(__name__)

POLL_S = 1.0
SWEEP_S = 60.0
RETRY_S = 60.0  # until the next process, where one could not be started
MAX_CRASHES = 3  # of the processes of one job
MAX_ATTEMPTS = 20  # a job that ends the server each time is not started for ever
MAX_REASON = 1000  # characters, as the server limits it
ENDED = "process_ended"  # code of the error of a job whose process did not report one


@dataclass(slots=True)
class _JobRun:
    job: TrainingJob
    owner: str
    stage: JobStage
    folder: JobFolder
    locks: tuple[FileLock, ...]
    process: subprocess.Popen[bytes]


class JobRunner:
    """Works on the jobs whose files are on this machine; `wake` makes it look at once."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._runs: dict[str, _JobRun] = {}
        self._crashes: Counter[str] = Counter()
        self._swept = 0.0
        self._start_at = 0.0  # monotonic: after a process that could not be started
        self._task = PeriodicTask("Training jobs", self._work, POLL_S, last=self._stop)

    def start(self) -> None:
        """Begin to look for jobs."""
        self._task.start()

    def wake(self) -> None:
        """Look for new or cancelled jobs now."""
        self._task.wake()

    def stop(self) -> None:
        """End the processes; their jobs go on when a server runs again."""
        self._task.stop()

    def _work(self) -> None:
        if not self._runtime.ready:
            return
        jobs, files = self._tables()
        for run in list(self._runs.values()):
            self._follow(run, jobs)
        if time.monotonic() - self._swept > SWEEP_S:
            self._swept = time.monotonic()
            files.remove_expired()
            files.remove_orphans()
            self._sweep(jobs)
        if self._settings.jobs.concurrent and time.monotonic() >= self._start_at:
            for job in jobs.active():
                if job.id not in self._runs:
                    self._try(job, jobs, files)

    def _tables(self) -> tuple[Jobs, Files]:
        store = self._runtime.store
        return Jobs(store.catalog), Files(store.catalog, store.home)

    def _try(self, job: TrainingJob, jobs: Jobs, files: Files) -> None:
        """Start the process of a job if its files are here, nobody works on it, and a slot is free."""
        stage = JobStage.CHECK if job.status is JobStatus.VALIDATING else JobStage.TRAIN
        slots = 1 if stage is JobStage.CHECK else self._settings.jobs.concurrent
        slot = free_slot(self._settings.home, stage, slots)
        if slot is None:
            return
        folder = JobFolder(self._settings.home, job.id)
        lock, owner = folder.lock, secrets.token_hex(16)
        taken = None
        if _are_here(job, files) and try_lock(lock):
            taken = jobs.take(job.id, owner)
        locks = (lock, slot)
        if taken is None:
            _release(locks)
            return
        if taken.attempts > MAX_ATTEMPTS:
            self._failed(jobs, taken, owner, f"The job was started {MAX_ATTEMPTS} times and did not end.")
            _release(locks)
            return
        try:
            folder.make()
            process = self._spawn(Order(self._settings_of_job(), job.id, owner, stage, os.getpid()))
        except OSError:  # no memory, or a full disk: each attempt counts
            _release(locks)
            self._start_at = time.monotonic() + RETRY_S
            raise
        self._runs[job.id] = _JobRun(taken, owner, stage, folder, locks, process)

    def _spawn(self, order: Order) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.jobs.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=_environment(self._settings),
            process_group=0,
        )
        assert process.stdin
        with suppress(BrokenPipeError):  # it ended already; `_follow` sees that
            process.stdin.write(order.to_line())
            process.stdin.close()
        threading.Thread(target=self._wake_at_end, args=(process,), name="job-end", daemon=True).start()
        return process

    def _wake_at_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.wake()

    def _settings_of_job(self) -> Settings:
        """Return the settings without the keys of the server, which a job does not need."""
        serve = self._settings.serve.model_copy(update={"admin_key": "", "api_keys": (), "session_key": ""})
        return self._settings.model_copy(update={"serve": serve})

    def _follow(self, run: _JobRun, jobs: Jobs) -> None:
        status = run.process.poll()
        if status is None:
            if jobs.get(run.job.id).is_active:
                return
            _kill(run)
        elif status == 0 and run.stage is JobStage.TRAIN:
            self._finish(run, jobs)
        elif status not in (0, LOST):
            self._crashed(run, jobs, status)
        self._forget(run, jobs)

    def _finish(self, run: _JobRun, jobs: Jobs) -> None:
        """Deploy what the process has stored, if that was asked for and the gate lets it, and end the job."""
        result = run.folder.result
        if not result or not jobs.get(run.job.id).is_active:  # the process has reported a failure
            return
        event = NewEvent(f"Stored as {result['version']}.")
        if name := run.job.spec.deploy:
            result["deploy"], event = self._deployed(run, name, result)
        with suppress(LostJob):
            jobs.finish(run.job.id, run.owner, result=result, event=event)

    def _deployed(self, run: _JobRun, name: str, result: dict[str, Any]) -> tuple[dict[str, Any], NewEvent]:
        version, gate = result["version"], result["gate"]
        reason = str(gate["reason"])
        live = False
        if gate["passed"]:
            change = Deploy(version=version, by=run.job.id, reason=f"job: {reason}"[:MAX_REASON])
            try:
                if str(_stable(self._runtime, name)) != version:
                    self._runtime.deploy(name, change)
                live = True
            except HubError as error:
                reason = str(error)
            except Exception as error:
                log_fault(log, f"{version} of job {run.job.id} could not be deployed", error)
                reason = f"the server failed ({type(error).__name__}); see its log"
        done = {"deployment": name, "live": live, "reason": reason}
        if live:
            return done, NewEvent(f"Stored as {version}, and live as {name}: {reason}", done)
        return done, NewEvent(f"Stored as {version}, but not deployed: {reason}", done, Level.WARN)

    def _crashed(self, run: _JobRun, jobs: Jobs, status: int) -> None:
        """Leave a job whose process died for another try, or end it."""
        self._crashes[run.job.id] += 1
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        log.error("The process of job %s ended with %s.", run.job.id, how)
        if self._crashes[run.job.id] >= MAX_CRASHES:
            message = (
                f"The process of the job ended {MAX_CRASHES} times without a result, at last with {how}."
            )
            self._failed(jobs, run.job, run.owner, message)

    def _failed(self, jobs: Jobs, job: TrainingJob, owner: str, message: str) -> None:
        error = {"code": ENDED, "message": message, "param": None}
        with suppress(LostJob):
            jobs.finish(job.id, owner, error=error, event=NewEvent(message, level=Level.ERROR))

    def _forget(self, run: _JobRun, jobs: Jobs) -> None:
        if not jobs.get(run.job.id).is_active:
            run.folder.remove()
        _release(run.locks)
        del self._runs[run.job.id]
        self._task.wake()

    def _sweep(self, jobs: Jobs) -> None:
        """Remove the folders of ended jobs that a serving process left when it died."""
        active = {job.id for job in jobs.active()}
        for path in jobs_folder(self._settings.home).glob("ftjob-*"):
            folder = JobFolder(self._settings.home, path.name)
            if path.name not in active | self._runs.keys() and try_lock(lock := folder.lock):
                folder.remove()
                lock.release()

    def _stop(self) -> None:
        for run in self._runs.values():
            _kill(run)
            with suppress(HubError, LostJob):
                self._tables()[0].release(run.job.id, run.owner)
            _release(run.locks)
        self._runs.clear()


def _are_here(job: TrainingJob, files: Files) -> bool:
    spec = job.spec
    try:
        return all(files.holds(files.get(id)) for id in (spec.training_file, spec.validation_file) if id)
    except NotFound:  # removed by hand; the process reports it
        return True


def _stable(runtime: Runtime, name: str) -> object:
    try:
        return runtime.store.deployment(name).stable.ref
    except NotFound:
        return None


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a job's process: no secrets, no downloads, few threads that do not spin."""
    threads = str(settings.jobs.threads or max(1, (os.cpu_count() or 2) // 2))
    environment = child_environment()
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    return environment | {
        "HUB_HOME": str(settings.home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192",
    }


def _kill(run: _JobRun) -> None:
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()


def _release(locks: tuple[FileLock, ...]) -> None:
    for lock in locks:
        lock.release()
