"""Runs the parts of a bulk job on a Ray cluster: an actor for each worker, with an engine of its own."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from hub import errors
from hub.config import Settings, restore_settings
from hub.errors import EngineFailed, HubError
from hub.scale.bulk import RunParts
from hub.scale.cluster import cluster
from hub.scale.inputs import BulkData, BulkPart
from hub.scale.job import BulkJob, BulkRequest
from hub.scale.outputs import OutputFolder
from hub.scale.parts import OnRows, PartDone, PartRunner
from hub.scale.rows import Rows

__all__ = ["run_on_ray"]

REPORT_S = 1.0  # between two reports of a worker
POLL_S = 10.0  # for an answer of the tally
TRIES = 3  # of a part whose workers die

Column = Mapping[str, Sequence[Any]]


def run_on_ray(workers: int) -> RunParts:
    """Return what answers the parts of a job with so many workers; each answers one part at a time.

    It yields the records as parts are done, and raises HubError for the first part that cannot be answered
    once the others are done. A part whose worker dies is answered by another.
    """
    return partial(_run, workers)


class RowTally:
    """How many rows and bytes of each part are answered; one actor, to which all workers report."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[int, int]] = {}
        self._tries: Counter[int] = Counter()

    def begin(self, part: int) -> int:
        """Count how often a part was begun, and return that."""
        self._tries[part] += 1
        return self._tries[part]

    def report(self, part: int, rows: int, bytes: int) -> None:
        """Set what is answered of a part; one that is answered again begins again."""
        self._parts[part] = rows, bytes

    def total(self) -> tuple[int, int]:
        """Return the rows and bytes of all parts."""
        return sum(rows for rows, _ in self._parts.values()), sum(size for _, size in self._parts.values())


class PartWorker:
    """Answers the parts that Ray sends it; it lives in a process of its own and loads the versions once."""

    def __init__(self, settings: str, job: str, request: str, tally: Any) -> None:
        self._tally = tally
        self._job = BulkJob.model_validate_json(job)
        asked = BulkRequest.model_validate_json(request)
        self._failed: HubError | None = None
        try:
            rows = Rows(restore_settings(settings), self._job.versions)
            self._runner = PartRunner(self._job, BulkData(asked.data), OutputFolder(asked.out), rows)
        except HubError as error:  # raised here, it would be one of Ray's
            self._failed = error

    def __call__(self, batch: Column) -> Column:
        """Answer the parts of the numbers in the column `part`; return them with their records, or errors."""
        answers = [json.dumps(self._answer(int(number))) for number in batch["part"]]
        return {"part": batch["part"], "done": answers}

    def _answer(self, number: int) -> dict[str, Any]:
        import ray

        if self._failed:
            return _failure(self._failed)
        if ray.get(self._tally.begin.remote(number)) > TRIES:  # Ray itself would begin it for ever
            output = self._job.parts[number].output
            return _failure(
                EngineFailed(f"{TRIES} workers died one after another while they wrote {output}.")
            )
        rows = size = 0
        reported = time.monotonic()

        def on_rows(more: int, bytes: int) -> None:
            nonlocal rows, size, reported
            rows, size, now = rows + more, size + bytes, time.monotonic()
            if now - reported > REPORT_S:
                reported = now
                self._tally.report.remote(number, rows, size)

        try:
            return self._runner.run(self._job.parts[number], on_rows).model_dump(mode="json")
        except HubError as error:  # as JSON: the process that began the job may have no plugin's classes
            return _failure(error)


def _failure(error: HubError) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}


def _run(
    workers: int,
    job: BulkJob,
    request: BulkRequest,
    settings: Settings,
    parts: Sequence[BulkPart],
    on_rows: OnRows,
) -> Iterator[PartDone]:
    wanted = {part.output for part in parts}
    numbers = [number for number, part in enumerate(job.parts) if part.output in wanted]
    failed: HubError | None = None
    with cluster(settings.ray) as joined, _progress(on_rows) as tally:
        cpus, gpus = joined.share(min(workers, len(parts)))
        made = (_for_workers(settings, cpus), job.model_dump_json(), request.model_dump_json(), tally)
        options = {"num_cpus": cpus, "num_gpus": gpus}
        for number, record in _answered(numbers, made, min(workers, len(parts)), options):
            if "error" in record:
                failed = failed or _error(record["error"])
                continue
            done = PartDone.model_validate(record)
            tally.report.remote(number, done.rows, job.parts[number].bytes)
            yield done
    if failed:
        raise failed


def _for_workers(settings: Settings, cpus: int) -> str:
    """Return the settings that workers need, as JSON; the keys of servers stay here."""
    keys = {"admin_key": "", "api_keys": (), "session_key": ""}
    serve = settings.serve.model_copy(update={"threads": settings.serve.threads or cpus, **keys})
    needed = {"home", "serve", "limits", "plugins", "catalog", "store"}
    return settings.model_copy(update={"serve": serve}).model_dump_json(include=needed)


def _answered(
    numbers: Sequence[int], made: tuple[Any, ...], workers: int, options: Mapping[str, Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the record of each part, as they are done; `made` are what a worker is made of."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    parts = ray.data.from_items([{"part": number} for number in numbers], override_num_blocks=len(numbers))
    answered = parts.map_batches(
        PartWorker,
        fn_constructor_args=made,
        batch_size=1,
        compute=ActorPoolStrategy(size=workers),
        **options,
    )
    try:
        for row in answered.iter_rows():
            yield int(row["part"]), json.loads(row["done"])
    except ray.exceptions.RayError as error:
        raise EngineFailed(
            f"The workers of the job ended ({type(error).__name__}). See the logs of Ray in "
            "/tmp/ray/session_latest on their machines; the same command resumes the job."
        ) from error


@contextmanager
def _progress(on_rows: OnRows) -> Iterator[Any]:
    """Start the tally of the workers within the block, and pass on what it counts."""
    import ray

    tally = ray.remote(num_cpus=0)(RowTally).remote()
    ended = threading.Event()
    before = (0, 0)

    def poll() -> None:
        nonlocal before
        with suppress(ray.exceptions.RayError):  # progress is not worth a job
            now = ray.get(tally.total.remote(), timeout=POLL_S)
            if now != before:
                on_rows(now[0] - before[0], now[1] - before[1])
                before = now

    def watch() -> None:
        while not ended.wait(REPORT_S):
            poll()

    watcher = threading.Thread(target=watch, name="bulk-progress", daemon=True)
    watcher.start()
    try:
        yield tally
        poll()
    finally:
        ended.set()
        watcher.join()


def _error(record: Mapping[str, str]) -> HubError:
    """Return the error of a worker as the same class, where it is one of ours."""
    kind = getattr(errors, record["type"], EngineFailed)
    return kind(record["message"]) if issubclass(kind, HubError) else EngineFailed(record["message"])
