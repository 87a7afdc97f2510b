"""The section `jobs`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class JobSettings(Model):
    """Training over HTTP: uploaded files, and jobs beside the server."""

    concurrent: int = Field(
        1, ge=0, le=16, description="Jobs trained at once on this machine; 0: none, they stay queued."
    )
    queued: int = Field(100, ge=1, description="Maximum number of unfinished jobs; more are refused (429).")
    nice: int = Field(
        10, ge=0, le=19, description="Niceness of a job's process, so that the server's requests come first."
    )
    threads: int = Field(0, ge=0, description="Threads of a job's process; 0: half of the cores.")
    file_bytes: int = Field(100_000_000, gt=0, description="Maximum size of an uploaded file, in bytes.")
    storage_bytes: int = Field(
        10_000_000_000, gt=0, description="Maximum size of all uploaded files together, in bytes."
    )
