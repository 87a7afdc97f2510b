"""A bulk job: what identifies it, so that it can be resumed, and so that no other job mixes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from hub.api import Model
from hub.data.profile.read_options import Reading
from hub.errors import BadRequest, Conflict
from hub.registry.host import LoadedTask, Registry
from hub.scale.inputs import FORMATS, BulkData, BulkPart, columns_of, parts_of
from hub.scale.outputs import JOB_FILE, OutputFolder
from hub.scale.rows import PinnedVersion
from hub.store.store import Store

__all__ = ["BulkJob", "BulkRequest", "open_job"]

FORMAT = 1
ROWS_PER_PART = 100_000  # of a Parquet file: what a job that was killed does again, and what workers share


class BulkRequest(Model):
    """What a caller asks for: `format` is that of the output, "" for that of each file.

    `columns` has the column of a field; `reading` are keys of a recipe's section `data`.
    """

    deployments: tuple[str, ...]
    data: str
    out: str
    format: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    reading: dict[str, Any] = Field(default_factory=dict)
    rows_per_part: int = ROWS_PER_PART


class BulkJob(Model):
    """The record of a job. `versions` answer until its end, wherever the deployments move.

    `data` and `out` are shown without credentials.
    """

    format: int = FORMAT
    deployments: tuple[str, ...]
    versions: tuple[PinnedVersion, ...]
    data: str
    output_format: str
    columns: dict[str, str]
    reading: dict[str, Any]
    parts: tuple[BulkPart, ...]

    @property
    def bytes(self) -> int:
        """The size of the input."""
        return sum(part.bytes for part in self.parts)

    @property
    def rows(self) -> int:
        """The number of rows; 0 if it is not known for every file."""
        return sum(part.rows for part in self.parts) if all(part.row_groups for part in self.parts) else 0


def open_job(
    request: BulkRequest, output: OutputFolder, store: Store, registry: Registry
) -> tuple[BulkJob, bool]:
    """Return the job of an output folder, which is resumed, or a new one; and whether it is new.

    The deployments, every file and its columns are checked, and nothing is written.

    Raises:
        NotFound: there is no such deployment or version.
        BadRequest: the output is in the data, or an option is invalid.
        BadData, SourceUnavailable: the input cannot be read, or lacks a column.
        Conflict: the folder holds another job, or other files.
    """
    data = BulkData(request.data)
    _check_places(data, output, request)
    recorded = output.job()
    if recorded is not None:
        job = _recorded(recorded, output)
        now = _plan(request, data, job.versions, store, registry)
        _check_same(job, now, output)
        return job, False
    pinned = [PinnedVersion.of(store, name) for name in request.deployments]
    return _plan(request, data, pinned, store, registry), True


def _plan(
    request: BulkRequest, data: BulkData, pinned: Sequence[PinnedVersion], store: Store, registry: Registry
) -> BulkJob:
    versions = [one.find(store) for one in pinned]
    tasks = [registry.task(version.manifest.serving.task) for version in versions]
    recorded: dict[str, Any] = {}
    for version in versions:
        recorded = {**version.manifest.reading.get("columns", {}), **recorded}
    columns, needed = _columns(request, data, tasks, recorded)
    parts = parts_of(
        data, request.reading, needed, format=request.format, rows_per_part=request.rows_per_part
    )
    return BulkJob(
        deployments=request.deployments,
        versions=tuple(pinned),
        data=data.shown,
        output_format=request.format,
        columns=columns,
        reading=request.reading,
        parts=tuple(parts),
    )


def _columns(
    request: BulkRequest, data: BulkData, tasks: Sequence[LoadedTask], recorded: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the column of each field that is not named like it, and of each field that a file must have.

    A field has the column that was given, else the one of its name, else that of the training data.
    """
    fields = {name: about for task in tasks for name, about in task.request.model_fields.items()}
    if unknown := sorted(request.columns.keys() - fields.keys()):
        raise BadRequest(
            f"--column {unknown[0]}: no task of these deployments has this field. They have: "
            f"{', '.join(fields)}."
        )
    there = columns_of(data, data.files()[0], request.reading)
    columns = {name: _named(column, there) for name, column in request.columns.items()}
    for name in fields:
        before = _named(str(recorded.get(name, "")), there)
        if name not in columns and name not in there and before in there:
            columns[name] = before
    needed = {name: columns.get(name, name) for name, about in fields.items() if about.is_required()}
    return columns, needed | columns


def _named(column: str, there: Sequence[str]) -> str:
    """Return the name of a column that is given by its name, or by its position from 0."""
    if column in there or not column.isdecimal() or int(column) >= len(there):
        return column
    return there[int(column)]


def _check_places(data: BulkData, output: OutputFolder, request: BulkRequest) -> None:
    if request.format not in ("", *FORMATS):
        raise BadRequest(f"--format {request.format}: choose one of {', '.join(FORMATS)}.")
    if len(set(request.deployments)) < len(request.deployments):
        raise BadRequest("A deployment is named twice.")
    if data.contains(output.url):
        raise BadRequest(
            f"{output.shown} is in the folder of the data, where its files would be read as data. "
            "Name a folder elsewhere."
        )


def _recorded(recorded: Any, output: OutputFolder) -> BulkJob:
    try:
        return BulkJob.model_validate(recorded)
    except ValueError:
        raise Conflict(
            f"{output.shown}/{JOB_FILE} is no record of a job that this release can resume. "
            "Name a new folder."
        ) from None


def _check_same(job: BulkJob, now: BulkJob, output: OutputFolder) -> None:
    """Raise Conflict if what is asked for now is not the recorded job."""
    for name in BulkJob.model_fields:
        if name != "versions" and getattr(job, name) != getattr(now, name):
            raise Conflict(
                f"{output.shown} holds another job: its {_WORDS.get(name, name)} differ. To resume it, "
                "give the same command as when it began; for another job, name a new folder."
            )


_WORDS = {"data": "input URLs", "parts": "input files", "output_format": "output formats"}


def reading_of(options: Reading) -> dict[str, Any]:
    """Return the options of the command line as keys of a recipe's section `data`."""
    return {key: value for key, value in options.settings.items() if key != "separator"}
