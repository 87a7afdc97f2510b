"""When the stages of one call began and ended, by time.perf_counter; 0.0 before."""

from __future__ import annotations

from typing import Protocol

from hub.serving.batching.fair_queue import Job

__all__ = ["CallTimes"]


class _HasJob(Protocol):
    job: Job | None


class CallTimes:
    """The times of the version that answers; stages write them in their threads.

    `rows` has the job, once the rows are queued.
    """

    __slots__ = ("decode_began", "decode_ended", "encode_began", "encode_ended", "rows")

    def __init__(self) -> None:
        self.encode_began = self.encode_ended = 0.0
        self.decode_began = self.decode_ended = 0.0
        self.rows: _HasJob | None = None
