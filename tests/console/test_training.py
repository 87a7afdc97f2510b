"""Starting a job from the form of a file."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from hub.jobs.folder import free_slot
from hub.jobs.process import JobStage
from hub.store.jobs.jobs import MAX_EVENTS, Jobs, NewEvent
from hub.store.jobs.records import EventKind, JobSpec
from tests.console.conftest import Browser
from tests.support.homes import FakeHome

ROWS = "text,label\n" + "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(20))


@pytest.fixture
def job(operator: Browser) -> dict[str, str]:
    """What the form sends to train on an uploaded file."""
    sent = {"token": (None, operator.token()), "file": ("rows.csv", ROWS)}
    uploaded = operator.client.post("/console/training/files", files=sent, follow_redirects=False)
    assert uploaded.status_code == 303, uploaded.text
    file = uploaded.headers["location"].rpartition("/")[2]
    return {"file": file, "task": "classification", "base": "tiny", "name": "rows"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"learning_rate_multiplier": "4097"}, "less than or equal to 100"),
        ({"learning_rate_multiplier": "0"}, "greater than 0"),
        ({"learning_rate_multiplier": "nan"}, "must be finite"),
        ({"n_epochs": "5000"}, "less than or equal to 1000"),
        ({"n_epochs": "1.5"}, "is not a whole number"),
        ({"n_epochs": "9" * 4000}, "less than or equal to 1000"),
        ({"n_epochs": "9" * 5000}, "is not a whole number"),
        ({"batch_size": "5000"}, "less than or equal to 4096"),
    ],
)
def test_settings_have_the_limits_of_the_api(
    operator: Browser, job: dict[str, str], setting: dict[str, str], told: str
) -> None:
    refused = operator.send("/console/training/jobs", **job, **setting)
    assert (refused.status_code, told in refused.text) == (400, True), refused.text


def test_the_curves_of_a_job_begin_with_its_first_step(operator: Browser, home: FakeHome) -> None:
    jobs, slot = Jobs(home.store.catalog), free_slot(home.path, JobStage.CHECK, 1)
    assert slot, "so that the server leaves the job alone"
    job = jobs.create(JobSpec("tiny", "sentiment", "mood", "file-1"), 10)
    jobs.take(job.id, "one")
    steps = range(1, MAX_EVENTS)  # beside the event that it was created
    noted = [NewEvent("a step", {"step": step, "train_loss": 0.5}, kind=EventKind.METRICS) for step in steps]
    jobs.note(job.id, "one", noted)
    text = unescape(operator.get(f"/console/training/jobs/{job.id}").text)
    jobs.cancel(job.id)
    slot.release()
    found = re.search(r"\[\[[0-9., ]+\], ?\[[0-9., ]+\]\]", text)
    assert found and json.loads(found[0])[0] == list(steps)
