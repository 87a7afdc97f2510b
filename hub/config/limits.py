"""The section `limits`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class LimitSettings(Model):
    """Limits of requests and connections."""

    body_bytes: int = Field(2_000_000, gt=0, description="Maximum size of a request body, in bytes.")
    archive_bytes: int = Field(
        2_000_000_000, gt=0, description="Maximum size of a version that another hub sends, in bytes."
    )
    items: int = Field(256, gt=0, description="Maximum items in one predict call.")
    rows: int = Field(512, gt=0, description="Maximum model rows of one request.")
    queued_rows: int = Field(4096, gt=0, description="Rows waiting for the engine before 429.")
    timeout_s: float = Field(
        60.0, gt=0, description="Maximum time from a complete request to its answer, in seconds."
    )
    body_s: float = Field(30.0, gt=0, description="Time in which the body must arrive, in seconds.")
    header_s: float = Field(10.0, gt=0, description="Time in which all headers must arrive, in seconds.")
    idle_s: float = Field(
        75.0, gt=0, description="Time after which an idle connection is closed, in seconds."
    )
    header_bytes: int = Field(
        32_768, ge=1024, description="Maximum size of request line and headers, in bytes."
    )
    headers: int = Field(100, ge=16, description="Maximum headers in one request.")
    connections: int = Field(1000, ge=1, description="Maximum open connections of one serving process.")
    plugin_timeout_s: float = Field(
        15.0, gt=0, description="Time limit of a plugin's encode, decode or stream for one call, in seconds."
    )
    plugin_memory_mb: int = Field(
        2000,
        ge=0,
        description="Maximum growth of the process, in MB, while a plugin's call runs alone; 0: unlimited.",
    )
