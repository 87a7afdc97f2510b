"""Reloads of plugins: workers are replaced one after another by new ones, which import what is installed."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from hub.config import Settings
from hub.errors import HubError, ReloadFailed, ReloadRunning, ReloadTimeout
from hub.http.process.worker_config import Handover
from hub.http.process.worker_process import WorkerProcess

__all__ = ["ReloadState", "Reloads", "Workers", "describe_status"]

log = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_END_S = 30.0  # for a worker that has reported why it ends


class ReloadState(StrEnum):
    """Whether a reload runs, and how it ended."""

    NONE = "none"
    STARTING = "starting"  # a new worker loads; the previous one serves
    DRAINING = "draining"  # the new one serves; the previous one ends its requests
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class _Reload:
    """The latest reload; `replaced` of `replicas` workers run what is installed. Times are ISO 8601, UTC."""

    id: int = 0
    state: ReloadState = ReloadState.NONE
    replaced: int = 0
    replicas: int = 0
    started: str = ""
    ended: str = ""
    error: Json | None = None


class Workers(Protocol):
    """The workers of a supervisor, by index from 1."""

    @property
    def settings(self) -> Settings: ...

    def take_settings(self) -> None:
        """Read the settings of plugins again, for workers that start from now on.

        Raises:
            BadConfig: they are invalid.
        """

    async def start(self, index: int, handover: Handover) -> WorkerProcess:
        """Start a worker beside the present one of this index."""

    def replace(self, index: int, worker: WorkerProcess) -> WorkerProcess | None:
        """Put a worker in the place of the present one, which leaves; return that one, if there is one."""


class Reloads:
    """Runs one reload at a time; `answer` is what workers ask."""

    def __init__(self, workers: Workers) -> None:
        log.setLevel(logging.INFO)  # the root of a supervisor is at WARNING
        self._workers = workers
        self._latest = _Reload()
        self._task: asyncio.Task[None] | None = None
        self._new: WorkerProcess | None = None  # has not become ready yet
        self._stopped = False

    def answer(self, question: Json) -> Json:
        """Start a reload, or describe the latest one; an error is returned in its wire form."""
        if question.get("do") == "reload":
            try:
                self._begin(question)
            except HubError as error:
                return error.to_json()
        return asdict(self._latest)

    def stop(self) -> None:
        """Start nothing from now on, and end a worker that is not ready."""
        self._stopped = True
        if self._new:
            self._new.signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Wait for the end of a reload that runs."""
        if self._task:
            await self._task

    def _begin(self, question: Json) -> None:
        if self._stopped:
            raise ReloadRunning("The server stops.")
        if self._task and not self._task.done():
            raise ReloadRunning(
                f"Reload {self._latest.id} is {self._latest.state}. Wait until it has ended: "
                "GET /admin/plugins/reload"
            )
        names = {key: tuple(map(str, question[key])) for key in ("broken", "unreadable")}
        handover = Handover(**names, accept=bool(question["accept"]), force=bool(question["force"]))
        replicas = self._workers.settings.serve.replicas
        self._latest = _Reload(self._latest.id + 1, ReloadState.STARTING, 0, replicas, _now())
        self._task = asyncio.create_task(self._run(handover))

    async def _run(self, handover: Handover) -> None:
        latest = self._latest
        log.info("Reload %d of plugins begins.", latest.id)
        try:
            self._workers.take_settings()
            for index in range(1, latest.replicas + 1):
                await self._replace(index, handover)
        except HubError as error:
            latest.state, latest.error = ReloadState.FAILED, self._describe(error)
            log.error("Reload %d failed: %s", latest.id, latest.error["message"])
        except Exception as error:
            latest.state = ReloadState.FAILED
            latest.error = ReloadFailed(f"The supervisor failed ({type(error).__name__}).").to_json()["error"]
            log.exception("Reload %d failed.", latest.id)
        else:
            latest.state = ReloadState.DONE
            log.info("Reload %d is done.", latest.id)
        latest.ended = _now()

    async def _replace(self, index: int, handover: Handover) -> None:
        latest, limit = self._latest, self._workers.settings.serve.reload_timeout_s
        latest.state = ReloadState.STARTING
        try:
            self._new = new = await self._workers.start(index, handover)
        except OSError as error:
            raise ReloadFailed(f"A new worker could not be started: {error.strerror or error}.") from None
        try:
            if self._stopped:
                raise ReloadFailed("The server stops.")
            try:
                ready = await asyncio.wait_for(new.became_ready(), limit)
            except TimeoutError:
                raise ReloadTimeout(
                    f"The new worker was not ready within {limit:g} s (serve.reload_timeout_s)."
                ) from None
            if not ready:
                raise await _failure(new)
        except BaseException:
            new.signal(signal.SIGKILL)
            raise
        finally:
            self._new = None
        old = self._workers.replace(index, new)
        latest.replaced += 1
        latest.state = ReloadState.DRAINING
        if old:
            await old.ended()

    def _describe(self, error: HubError) -> Json:
        code = error.reported if isinstance(error, _Reported) else error.code
        latest = self._latest
        outcome = "The server goes on with the previous plugins."
        if latest.replaced:
            outcome = f"{latest.replaced} of {latest.replicas} workers run the new plugins."
        return {"code": code, "message": f"{error} {outcome}"}


class _Reported(ReloadFailed):
    """The error that a worker reported, with its code."""

    reported = ReloadFailed.code


async def _failure(worker: WorkerProcess) -> HubError:
    """Return why a worker ended, or stopped to report, before it was ready."""
    try:
        status = await asyncio.wait_for(worker.ended(), MAX_END_S)
    except TimeoutError:
        worker.signal(signal.SIGKILL)
        status = await worker.ended()
    if worker.failure:
        error = _Reported(worker.failure["message"])
        error.reported = worker.failure["code"]
        return error
    memory = ", as the system does when memory runs out" if status == -signal.SIGKILL else ""
    return ReloadFailed(
        f"The new worker ended with {describe_status(status)} before it was ready{memory}. The server's log "
        "has more."
    )


def describe_status(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
