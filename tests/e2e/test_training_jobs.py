"""Training over HTTP with OpenAI's own client: a file becomes a live endpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from hub.store.store import Store
from tests.e2e.conftest import Hub
from tests.support.preloaded import Process
from tests.support.tiny import tiny_encoder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LIMIT_S = 240
TEXTS = [("a warm film", "positive"), ("a dull film", "negative")]
CSV = "text,label\n" + "".join(f"{text} {number},{label}\n" for number in range(20) for text, label in TEXTS)
FAST = {
    "task": "sentiment",
    "recipe.evaluate.int8": "false",
    "recipe.train.dtype": "fp32",
    "recipe.data.near_duplicates": "keep",
}
LONG = {"recipe.train.checkpoint_steps": "4", "recipe.train.batch_size": "32", "recipe.train.patience": "0"}
FILE_BYTES = 20_000
SETTINGS = {"HUB_JOBS__NICE": "0", "HUB_JOBS__THREADS": "1", "HUB_JOBS__FILE_BYTES": str(FILE_BYTES)}


@dataclass(frozen=True)
class Served:
    """A server with the base `tiny`, and clients with the admin key."""

    hub: Hub
    http: httpx.Client
    openai: openai.OpenAI
    process: Process | None = None

    def kill(self) -> None:
        """Kill the server's processes as the kernel would."""
        key = {"authorization": f"Bearer {self.openai.api_key}"}
        worker = self.http.get("/admin/status", headers=key).json()["pid"]
        assert self.process
        self.process.kill()
        os.kill(worker, signal.SIGKILL)
        self.process.wait()

    def upload(self, content: str, name: str = "rows.csv") -> str:
        return self.openai.files.create(file=(name, content.encode()), purpose="fine-tune").id

    def create(self, file: str, **asked: Any) -> FineTuningJob:
        metadata = {**FAST, **asked.pop("metadata", {})}
        return self.openai.fine_tuning.jobs.create(
            model="tiny", training_file=file, metadata=metadata, **asked
        )

    def wait(self, id: str, is_it: Callable[[FineTuningJob], bool] = lambda job: bool(job.finished_at)):
        return wait_for(lambda: (job := self.openai.fine_tuning.jobs.retrieve(id)) and is_it(job) and job)

    def events(self, id: str) -> list[Any]:
        return list(self.openai.fine_tuning.jobs.list_events(id, limit=100))

    def wait_for_checkpoint(self, id: str) -> None:
        wait_for(lambda: self.openai.fine_tuning.jobs.checkpoints.list(id).data)

    def versions(self, name: str) -> list[str]:
        with Store(self.hub.home) as store:
            return [str(version.ref) for version in store.versions(name)]


def wait_for(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (value := found()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
    return value


def home_with_base(folder: Path) -> Hub:
    tiny_encoder(folder / "tiny")
    hub = Hub(folder / "home")
    with Store(hub.home) as store:
        store.bases.pull(str(folder / "tiny"), "tiny")
    return hub


def served_at(hub: Hub, http: httpx.Client, process: Process | None = None) -> Served:
    key = (hub.home / "admin.key").read_text().strip()
    client = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key=key, max_retries=0)
    return Served(hub, http, client, process)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    hub = home_with_base(tmp_path_factory.mktemp("jobs"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        log = hub.home.parent / "server.log"
        with log.open("w") as out:
            process = hub.start("serve", "--port", "0", "--engine", "fake", out=out)
        try:
            with httpx.Client(base_url=hub._wait(process, log), timeout=60) as http:
                made = served_at(hub, http, process)
                with made.openai:
                    yield made
        finally:
            process.terminate()
            process.wait(60)


def test_cancelled_midway_a_job_leaves_nothing(served: Served) -> None:
    job = served.create(served.upload(CSV), suffix="gone", metadata=LONG, hyperparameters={"n_epochs": 1000})
    served.wait_for_checkpoint(job.id)
    assert len(processes_of(job.id)) == 1
    assert served.hub.run_here("jobs", "list").count("gone") == 1
    wait_for(lambda: "/2000: " in served.hub.run_here("jobs", "show", job.id))
    cancelled = served.openai.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled" and cancelled.fine_tuned_model is None
    wait_for(lambda: not (served.hub.home / "jobs" / job.id).exists())
    wait_for(lambda: processes_of(job.id) == [])  # a forked one takes a moment to end
    assert served.versions("gone") == []
    with pytest.raises(openai.ConflictError, match="has ended already"):
        served.openai.fine_tuning.jobs.cancel(job.id)
    served.openai.files.delete(job.training_file)


def processes_of(job: str) -> list[int]:
    """Return the processes that hold a file in the folder of a job open."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            links = [os.readlink(link) for link in (entry / "fd").iterdir()] if entry.name.isdigit() else []
        except OSError:
            continue
        if any(f"/{job}/" in link for link in links):
            found.append(int(entry.name))
    return found


def test_a_file_that_cannot_be_read_is_refused_with_its_rows(served: Served) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        served.upload('{"text": "SECRET words", "label": "x"}\n{"text": \n[1]\n', "rows.jsonl")
    assert caught.value.code == "bad_data"
    assert "line 2 is not JSON" in str(caught.value) and "line 3 is not a JSON object" in str(caught.value)
    log = (served.hub.home.parent / "server.log").read_text()
    assert "SECRET" not in log


def test_rows_that_do_not_fit_the_task_fail_the_job_before_it_trains(served: Served) -> None:
    bad = "text,label\n" + "SECRET words,\n" * 3 + "".join(CSV.splitlines(keepends=True)[1:9])
    job = served.wait(served.create(served.upload(bad), suffix="bad").id)
    assert job.status == "failed" and job.error
    assert (job.error.code, job.error.param) == ("bad_data", "training_file")
    [rows] = [found for event in served.events(job.id) if (found := (event.data or {}).get("invalid_rows"))]
    assert rows[0] == {"file": job.training_file, "line": 2, "reason": "label is empty"}
    assert len(rows) == 3 and served.versions("bad") == []
    assert "SECRET" not in (served.hub.home.parent / "server.log").read_text()


def test_a_file_over_the_limit_is_refused(served: Served) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        served.upload("text,label\n" + "a,b\n" * (FILE_BYTES // 4 + 1))
    assert (caught.value.status_code, caught.value.code) == (413, "too_large")
    parts = (b"x" * 1000 for _ in range(100))
    headers = {
        "authorization": f"Bearer {served.openai.api_key}",
        "content-type": "multipart/form-data; boundary=b",
    }
    reply = served.http.post("/v1/files", content=parts, headers=headers)
    assert reply.status_code in (400, 413)  # without a declared length
    assert [path for path in (served.hub.home / "files").iterdir() if path.name.endswith(".part")] == []


def test_a_file_becomes_a_live_endpoint_although_the_server_is_killed(served: Served) -> None:
    """The last test of the module: it kills the module's server, and starts one that answers with weights."""
    asked = {"metadata": {**LONG, "deploy": "films"}, "hyperparameters": {"n_epochs": 40}, "seed": 5}
    job = served.create(served.upload(CSV), **asked)
    assert job.status == "validating_files"
    served.wait_for_checkpoint(job.id)
    served.kill()
    with served.hub.serving("--engine", "torch") as http, served_at(served.hub, http).openai as client:
        again = Served(served.hub, http, client)
        job = again.wait(job.id)
        events = again.events(job.id)
        assert job.status == "succeeded", (job.error, events)
        assert (job.fine_tuned_model, job.seed) == ("films@1", 5)
        assert again.versions("films") == ["films@1"]
        assert job.to_dict()["result"]["resumed_from"] >= 4
        assert job.trained_tokens and job.trained_tokens > 40 * 36 * 4
        metrics = [event.data for event in events if event.type == "metrics"]
        assert any("train_loss" in data and data["total_steps"] == 80 for data in metrics)
        steps = [one.step_number for one in client.fine_tuning.jobs.checkpoints.list(job.id, limit=100)]
        assert steps[0] == 80 and 4 in steps
        assert "loss" in client.files.content(job.result_files[0]).text
        answer = http.post("/v1/deployments/films/predict", json={"text": "a warm film"})
        assert answer.headers["x-hub-version"] == "films@1"
        assert answer.json()["label"] in ("positive", "negative")
        assert not (served.hub.home / "jobs" / job.id).exists()
