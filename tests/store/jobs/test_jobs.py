"""Jobs in the catalog: who may change them, and what stays of a cancelled one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.errors import Conflict, NotFound, Overloaded
from hub.store.catalog.catalog import Catalog
from hub.store.jobs import jobs as module
from hub.store.jobs.jobs import Jobs, NewEvent
from hub.store.jobs.records import EventKind, JobSpec, JobStatus, LostJob, Page

SPEC = JobSpec("tiny", "sentiment", "mood", "file-1", asked={"metadata": {"team": "a"}})
MESSAGES = (EventKind.MESSAGE,)


@pytest.fixture(params=["sqlite", "postgres"])
def jobs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    on_postgres = request.param == "postgres"
    catalog = Catalog(request.getfixturevalue("postgres_url") if on_postgres else tmp_path / "catalog.db")
    yield Jobs(catalog)
    catalog.close()


def test_a_job_goes_through_its_states_with_its_owner(jobs: Jobs) -> None:
    job = jobs.create(SPEC, 10)
    assert (job.status, job.spec) == (JobStatus.VALIDATING, SPEC)
    assert jobs.take(job.id, "one")
    jobs.advance(job.id, "one", JobStatus.RUNNING)
    jobs.advance(job.id, "one", JobStatus.STORING)
    jobs.finish(job.id, "one", result={"version": "mood@1"}, event=NewEvent("Stored."))
    done = jobs.get(job.id)
    assert (done.status, done.result) == (JobStatus.SUCCEEDED, {"version": "mood@1"})
    assert done.started and done.finished and not done.is_active
    assert jobs.active() == []


def test_a_run_that_lost_its_job_changes_nothing(jobs: Jobs) -> None:
    job = jobs.create(SPEC, 10)
    jobs.take(job.id, "one")
    jobs.take(job.id, "two")
    for change in (
        lambda: jobs.advance(job.id, "one", JobStatus.STORING),
        lambda: jobs.note(job.id, "one", [NewEvent("late")]),
        lambda: jobs.finish(job.id, "one", error={"code": "x"}, event=NewEvent("late")),
        lambda: jobs.release(job.id, "one"),
    ):
        with pytest.raises(LostJob):
            change()
    assert jobs.get(job.id).status is JobStatus.VALIDATING
    assert "late" not in [event.message for event in jobs.events(job.id, Page(9), MESSAGES)]


def test_a_cancelled_job_cannot_be_stored_and_a_storing_one_not_cancelled(jobs: Jobs) -> None:
    gone, kept = jobs.create(SPEC, 10), jobs.create(SPEC, 10)
    for job in (gone, kept):
        jobs.take(job.id, "one")
        jobs.advance(job.id, "one", JobStatus.RUNNING)
    assert jobs.cancel(gone.id).status is JobStatus.CANCELLED
    with pytest.raises(LostJob):
        jobs.advance(gone.id, "one", JobStatus.STORING)
    assert jobs.take(gone.id, "two") is None
    jobs.advance(kept.id, "one", JobStatus.STORING)
    with pytest.raises(Conflict, match="is storing"):
        jobs.cancel(kept.id)


def test_a_job_of_a_dead_process_is_taken_again_and_a_stopped_one_does_not_count(jobs: Jobs) -> None:
    job = jobs.create(SPEC, 10)
    jobs.take(job.id, "one")
    jobs.advance(job.id, "one", JobStatus.STORING)
    again = jobs.take(job.id, "two")
    assert again and (again.status, again.attempts) == (JobStatus.RUNNING, 2)
    jobs.release(job.id, "two")
    assert jobs.get(job.id).attempts == 1


def test_only_so_many_jobs_may_wait(jobs: Jobs) -> None:
    first = jobs.create(SPEC, 1)
    with pytest.raises(Overloaded, match=r"jobs\.queued"):
        jobs.create(SPEC, 1)
    jobs.cancel(first.id)
    jobs.create(SPEC, 1)


def test_pages_follow_each_other_without_a_gap(jobs: Jobs) -> None:
    ids = [jobs.create(SPEC, 10).id for _ in range(5)][::-1]
    found: list[str] = []
    while True:
        page = [job.id for job in jobs.page(Page(2, found[-1] if found else None))]
        found += page[:2]
        if len(page) <= 2:
            break
    assert found == ids
    assert jobs.page(Page(9), {"team": "b"}) == []
    assert len(jobs.page(Page(9), {"team": "a"})) == 5
    with pytest.raises(NotFound):
        jobs.page(Page(2, "ftjob-nobody"))


def test_events_have_a_limit_and_pages(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 4)
    job, other = jobs.create(SPEC, 10), jobs.create(SPEC, 10)
    jobs.take(job.id, "one")
    jobs.note(job.id, "one", [NewEvent(f"event {number}") for number in range(9)])
    newest = jobs.events(job.id, Page(9), MESSAGES)
    assert [event.message for event in newest[:2]] == ["event 2", "event 1"]
    rest = jobs.events(job.id, Page(9, str(newest[1].id)), MESSAGES)
    assert [event.id for event in rest] == [event.id for event in newest[2:]]
    for after in ("x", "9" * 40, str(newest[0].id)):
        with pytest.raises(NotFound):
            jobs.events(other.id, Page(9, after), MESSAGES)
