"""How many rows that generate text are admitted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hub.api import HeadKind, Output, Row, Sampling
from hub.engine.protocol import EngineRow
from hub.errors import EngineFailed, Overloaded
from hub.serving.batching.fair_queue import Job
from hub.serving.batching.text_jobs import TextJobs


class HoldingEngine:
    """Ends no row by itself."""

    def __init__(self) -> None:
        self.ends = []

    def generate(self, row, on_text, on_end):
        self.ends.append(lambda: on_end(Output(row.row, None, "", 1)))
        return SimpleNamespace(cancel=self.ends[-1], started_at=0.0)


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
        generating = prepare(row, on_text, on_end)
        jobs.cancel(cancelled)
        return generating

    engine.generate = generate
    jobs.submit(cancelled)
    assert len(engine.ends) == 1
    assert (jobs.rows, finished) == (0, [cancelled])


def test_a_row_that_the_engine_cannot_begin_fails_and_its_job_ends_with_the_other_rows() -> None:
    engine, finished = HoldingEngine(), []
    jobs = TextJobs(engine, max_rows=8, finish=finished.extend)
    begin = engine.generate

    def generate(row, on_text, on_end):
        if engine.ends:
            raise AttributeError("_texts")  # such as that of a closed engine
        return begin(row, on_text, on_end)

    engine.generate = generate
    failed = jobs.submit(job(1, 1))
    assert (jobs.rows, finished) == (1, [])
    engine.ends[0]()
    assert (jobs.rows, finished) == (0, [failed])
    with pytest.raises(EngineFailed, match="AttributeError"):
        failed.results()


def test_a_job_waits_until_its_first_row_leaves_the_queue_of_the_engine() -> None:
    engine, finished = HoldingEngine(), []
    jobs = TextJobs(engine, max_rows=8, finish=finished.extend)
    begin, rows = engine.generate, []
    engine.generate = lambda *given: rows.append(begin(*given)) or rows[-1]
    waiting = jobs.submit(job(1, 1))
    waiting.queued_at -= 10.0
    rows[0].started_at, rows[1].started_at = waiting.queued_at + 2.0, waiting.queued_at + 1.0
    for end in engine.ends:
        end()
    assert finished == [waiting]
    assert waiting.queue_s == pytest.approx(1.0)
    assert waiting.engine_s >= 9.0
