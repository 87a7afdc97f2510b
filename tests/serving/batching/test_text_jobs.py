"""How many rows that generate text are admitted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hub.api import HeadKind, Output, Row, Sampling
from hub.engine.protocol import EngineRow
from hub.errors import Overloaded
from hub.serving.batching.fair_queue import Job
from hub.serving.batching.text_jobs import TextJobs


class HoldingEngine:
    """Ends no row by itself."""

    def __init__(self) -> None:
        self.ends = []

    def generate(self, row, on_text, on_end):
        self.ends.append(lambda: on_end(Output(row.row, None, "", 1)))


def job(*beams: int) -> Job:
    rows = [EngineRow(Row([1], sampling=Sampling(num_beams=count)), 0, HeadKind.GENERATE) for count in beams]
    return Job(rows, lambda: None, None)


def test_each_beam_counts_as_a_row_until_its_text_ends() -> None:
    engine = HoldingEngine()
    jobs = TextJobs(engine, max_rows=8, finish=lambda ended: None)
    jobs.submit(job(4, 1))
    with pytest.raises(Overloaded, match=r"5 texts or beams .* limit is 8 \(limits\.queued_rows\)"):
        jobs.submit(job(4))
    jobs.submit(job(1, 2))
    assert jobs.rows == 8
    for end in engine.ends:
        end()
    assert jobs.rows == 0


def test_the_rows_of_a_job_that_is_cancelled_meanwhile_are_not_begun() -> None:
    engine, finished = HoldingEngine(), []
    jobs = TextJobs(engine, max_rows=8, finish=finished.extend)
    cancelled = job(1, 1, 1)
    prepare = engine.generate

    def generate(row, on_text, on_end):
        prepare(row, on_text, on_end)
        jobs.cancel(cancelled)
        return SimpleNamespace(cancel=engine.ends[0])

    engine.generate = generate
    jobs.submit(cancelled)
    assert len(engine.ends) == 1
    assert (jobs.rows, finished) == (0, [cancelled])
