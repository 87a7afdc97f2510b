"""What the routes of files and jobs call: uploads, new jobs, cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import IO, TypeVar

from hub.config import Settings
from hub.data.read.tables import reader_of, suffixes
from hub.errors import BadData, HubError
from hub.jobs.check_file import check_file
from hub.jobs.request import JobRequest, make_spec
from hub.jobs.runner import JobRunner
from hub.serving.runtime import Runtime
from hub.store.jobs.files import Files, NewFile
from hub.store.jobs.jobs import Jobs
from hub.store.jobs.records import TrainingJob, UploadedFile

__all__ = ["TrainingService", "format_by_name"]

MAX_NAME = 255  # characters kept of a file's name
READERS = 2  # files that are read at once

Result = TypeVar("Result")


class TrainingService:
    """Files and jobs of a server, and the thread that works on the jobs."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings
        self.runner = JobRunner(runtime, settings)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="uploads")

    async def reading(self, call: Callable[[], Result]) -> Result:
        """Run a call that reads a file, which may take minutes, in threads of its own.

        In those of the event loop it would hold up deploys, rollbacks and the metrics.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    @property
    def files(self) -> Files:
        """The uploaded files.

        Raises:
            NotReady: the server is still loading.
        """
        store = self._runtime.store
        return Files(store.catalog, store.home)

    @property
    def jobs(self) -> Jobs:
        """The jobs.

        Raises:
            NotReady: the server is still loading.
        """
        return Jobs(self._runtime.store.catalog)

    def upload(self, stream: IO[bytes], new: NewFile) -> UploadedFile:
        """Store a file whose rows can be parsed; blocks.

        Raises:
            BadData: it has no rows, or rows that cannot be parsed.
            TooLarge: it is larger than `jobs.file_bytes`, or there is no room for it.
        """
        limits = self._settings.jobs
        files = self.files
        staged = files.stage(stream, new.format, limits.file_bytes)
        try:
            rows = check_file(staged, new.filename)
        except HubError:
            staged.unlink(missing_ok=True)
            raise
        return files.add(staged, new, rows, limits.storage_bytes)

    def create(self, asked: JobRequest) -> TrainingJob:
        """Queue a job; blocks.

        Raises:
            as `make_spec` and `Jobs.create`.
        """
        spec = make_spec(asked, self._runtime.store, self.files, self._runtime.registry)
        job = self.jobs.create(spec, self._settings.jobs.queued)
        self.runner.wake()
        return job

    def cancel(self, id: str) -> TrainingJob:
        """Cancel a job; its process ends soon.

        Raises:
            as `Jobs.cancel`.
        """
        job = self.jobs.cancel(id)
        self.runner.wake()
        return job


def format_by_name(filename: str) -> str:
    """Return the ending for a file's format by the ending of its name; JSONL without an ending.

    Raises:
        BadData: no reader has that ending.
    """
    suffix = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    if not suffix:
        return "jsonl"
    spec = reader_of(suffix)
    if spec is None:
        raise BadData(f"A file of the kind {suffix[:20]!r} is not read. Use one of {', '.join(suffixes())}.")
    return spec.name if f".{spec.name}" in spec.suffixes else suffix[1:]
