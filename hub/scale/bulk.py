"""Runs a bulk job: answers every row of files at any URL, on this machine or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.config import Settings
from hub.errors import BadData
from hub.registry.active import activate
from hub.registry.host import Registry
from hub.scale.inputs import BulkData, BulkPart
from hub.scale.job import BulkJob, BulkRequest, open_job
from hub.scale.outputs import OutputFolder
from hub.scale.parts import OnRows, PartDone, PartRunner
from hub.scale.rows import Rows
from hub.store.store import Store

__all__ = ["BulkResult", "RunParts", "run_bulk", "run_locally"]

RunParts = Callable[[BulkJob, BulkRequest, Settings, Sequence[BulkPart], OnRows], Iterator[PartDone]]
"""Answers parts and yields their records, in any order."""


@dataclass(slots=True)
class BulkResult:
    """What a job has done; `resumed` parts were there before.

    `seconds` are those of this run, with the start; `rows_per_s` is its speed once the versions were loaded.
    """

    job: BulkJob
    output: str
    seconds: float = 0.0
    resumed: int = 0
    rows_per_s: float = 0.0
    parts: list[PartDone] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Describe the job as JSON values."""
        rows, failed = sum(part.rows for part in self.parts), sum(part.failed for part in self.parts)
        return {
            "answered": rows - failed,
            "failed": failed,
            "output": self.output,
            "files": len(self.parts),
            "resumed_files": self.resumed,
            "versions": [one.model_dump() for one in self.job.versions],
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.rows_per_s, 1),
            "failures": [
                {"file": part.output, **failure.model_dump()}
                for part in self.parts
                for failure in part.failures
            ],
        }


class BulkProgress:
    """How far a job is: the rows and bytes of this run, those of earlier ones, and the time that is left."""

    def __init__(self, job: BulkJob, show: Callable[[BulkProgress], None]) -> None:
        self.job = job
        self.rows_before = self.rows = 0
        self._bytes_before = self._bytes = 0
        self._show = show
        self._began = 0.0
        self._first = (0, 0)

    def resumed(self, part: BulkPart, done: PartDone) -> None:
        """Count a part that is done already."""
        self.rows_before += done.rows
        self._bytes_before += part.bytes

    def add(self, rows: int, bytes: int) -> None:
        """Count rows that were answered; the time begins with the first, when the versions are loaded."""
        self.rows += rows
        self._bytes += bytes
        if not self._began:
            self._began, self._first = time.perf_counter(), (rows, bytes)
        self._show(self)

    @property
    def seconds(self) -> float:
        """Seconds since the first rows were answered."""
        return time.perf_counter() - self._began if self._began else 0.0

    @property
    def rows_per_s(self) -> float:
        """The speed since the first rows."""
        return (self.rows - self._first[0]) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The time that is left, by the bytes of the input; None if it cannot be told yet."""
        answered = self._bytes - self._first[1]
        if answered <= 0:
            return None
        left = max(self.job.bytes - self._bytes_before - self._bytes, 0)
        return left * self.seconds / answered


def run_bulk(
    request: BulkRequest,
    settings: Settings,
    run_parts: RunParts,
    show: Callable[[BulkProgress], None] = lambda progress: None,
) -> BulkResult:
    """Answer every row; parts that an earlier run of the same job has done are not done again.

    Raises:
        NotFound, BadRequest, BadData, SourceUnavailable, Conflict: as `open_job`; nothing is written.
        HubError: rows cannot be answered or written now; parts that are done stay, and the job can be
            resumed.
    """
    output = OutputFolder(request.out)
    registry = activate(Registry.of(settings))
    with Store.of(settings) as store:
        job, new = open_job(request, output, store, registry)
    with output.held():
        if new:
            output.begin(job.model_dump(mode="json"))
        result = BulkResult(job, output.shown)
        progress = BulkProgress(job, show)
        done = output.done({part.output for part in job.parts})
        left = [part for part in job.parts if part.output not in done]
        for part in job.parts:
            if part.output in done:
                record = PartDone.model_validate(done[part.output])
                progress.resumed(part, record)
                result.parts.append(record)
        result.resumed = len(result.parts)
        if left:
            began = time.perf_counter()
            for record in run_parts(job, request, settings, left, progress.add):
                result.parts.append(record)
            result.seconds = time.perf_counter() - began
            result.rows_per_s = progress.rows_per_s or progress.rows / result.seconds
        _refuse_failed(result)
    result.parts.sort(key=lambda part: part.output)
    return result


def _refuse_failed(result: BulkResult) -> None:
    """Raise BadData if no row has an answer."""
    rows, failed = sum(part.rows for part in result.parts), sum(part.failed for part in result.parts)
    if failed and failed == rows:
        first = next(part for part in result.parts if part.failures)
        failure = first.failures[0]
        raise BadData(f"All {failed:,} rows failed. {first.output}, row {failure.row}: {failure.error}")


def run_locally(
    job: BulkJob, request: BulkRequest, settings: Settings, parts: Sequence[BulkPart], on_rows: OnRows
) -> Iterator[PartDone]:
    """Answer parts in this process, one after another."""
    data, output = BulkData(request.data), OutputFolder(request.out)
    answered = False
    with Rows(settings, job.versions) as rows:
        runner = PartRunner(job, data, output, rows)
        for part in parts:
            done = runner.run(part, on_rows, first=not answered)
            answered = answered or done.failed < done.rows
            yield done
