"""The routes of files and jobs: rights, shapes and refusals; no job is started here."""

from __future__ import annotations

import os
import threading
import time

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.http.auth import Caller, Keys
from hub.keys import Right, Scopes
from tests.http.conftest import ADMIN_KEY, serve
from tests.support.homes import FakeHome
from tests.support.waiting import until

ROWS = ("rows.csv", b"text,label\nwarm,good\n")
FILES, JOBS = "/v1/files", "/v1/fine_tuning/jobs"


VARIABLES = {"HUB_JOBS__CONCURRENT": "0", "HUB_JOBS__FILE_BYTES": "2000"}


@pytest.fixture
def client(home, admin):
    with serve(home.path, **VARIABLES) as client:
        client.headers.update(admin)
        yield client


@pytest.fixture(scope="module")
def refusing_home(tmp_path_factory, tiny_base_folder):
    return FakeHome(tmp_path_factory.mktemp("refusing"), tiny_base_folder).path


@pytest.fixture(scope="module")
def refusing(refusing_home):
    """A server for what is refused."""
    with serve(refusing_home, **VARIABLES) as client:
        client.headers["authorization"] = f"Bearer {ADMIN_KEY}"
        yield client


def upload(client, file=ROWS, **fields):
    return client.post(FILES, files={"file": file}, data={"purpose": "fine-tune", **fields})


def create(client, **asked):
    file = asked.pop("training_file", None) or upload(client).json()["id"]
    body = {"model": "tiny", "training_file": file, "metadata": {"task": "sentiment"}, **asked}
    return client.post(JOBS, json=body)


def error_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


def test_files_that_are_read_for_long_hold_up_nothing_else(client, monkeypatch) -> None:
    began, go_on = [], threading.Event()

    def check(path, shown) -> int:
        began.append(path)
        return int(go_on.wait(10)) or 1

    monkeypatch.setattr("hub.jobs.service.check_file", check)
    all_threads = min(32, (os.cpu_count() or 1) + 4)  # of the event loop
    uploads = [threading.Thread(target=upload, args=(client,)) for _ in range(all_threads + 2)]
    for one in uploads:
        one.start()
    assert until(lambda: len(began) >= 2, 10)
    asked = time.monotonic()
    assert client.get("/metrics").status_code == 200
    assert time.monotonic() - asked < 5 and not go_on.is_set()
    go_on.set()
    for one in uploads:
        one.join()
    assert len(client.get(FILES).json()["data"]) == len(uploads)


def test_a_file_is_shown_listed_read_and_deleted(client) -> None:
    made = upload(client, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert (made["filename"], made["bytes"], made["rows"]) == ("rows.csv", len(ROWS[1]), 1)
    assert made["expires_at"] - made["created_at"] == 3600
    assert client.get(f"{FILES}/{made['id']}").json() == made
    listed = client.get(FILES, params={"purpose": "fine-tune"}).json()
    assert (listed["data"], listed["has_more"], listed["first_id"]) == ([made], False, made["id"])
    content = client.get(f"{FILES}/{made['id']}/content")
    assert content.content == ROWS[1] and content.headers["content-disposition"] == "attachment"
    assert client.delete(f"{FILES}/{made['id']}").json()["deleted"] is True
    assert error_of(client.get(f"{FILES}/{made['id']}/content")) == (404, "not_found")


@pytest.mark.parametrize(
    ("file", "fields", "refusal"),
    [
        (ROWS, {"purpose": "assistants"}, (400, "bad_request")),
        (("a.exe", b"x"), {}, (422, "bad_data")),
        (("a.jsonl", b"no"), {}, (422, "bad_data")),
        (("a.csv", b"x" * 2001), {}, (413, "too_large")),
        (ROWS, {"expires_after[anchor]": "created_at"}, (400, "bad_request")),
        (ROWS, {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}, (400, "bad_request")),
        (ROWS, {f"more{number}": "x" for number in range(9)}, (400, "bad_request")),
    ],
)
def test_an_upload_that_is_not_one_is_refused_and_leaves_nothing(
    refusing, refusing_home, file, fields, refusal
):
    before = what_is_kept(refusing, refusing_home)
    reply = upload(refusing, file, **fields)
    assert error_of(reply) == refusal
    param = reply.json()["error"]["param"]
    assert param is None or param.partition(".")[0] in ("file", "purpose", "expires_after")
    assert what_is_kept(refusing, refusing_home) == before


def what_is_kept(client, home):
    return sorted(home.glob("files/*")), client.get(FILES).json()["data"]


def test_a_body_that_is_no_form_is_refused(refusing) -> None:
    assert error_of(refusing.post(FILES, json={})) == (415, "bad_media_type")
    assert error_of(refusing.post(JOBS, files={"file": ROWS})) == (415, "bad_media_type")
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert error_of(refusing.post(FILES, content=b"--x\r\nnothing", headers=form)) == (400, "bad_request")
    assert error_of(refusing.post(FILES, data={"purpose": "fine-tune"}, files={"x": b""}))[0] == 400
    over = {**form, "content-length": "999999"}
    assert error_of(refusing.post(FILES, content=b"", headers=over)) == (413, "too_large")


def test_a_job_is_created_shown_listed_and_cancelled(client) -> None:
    made = create(client, seed=3, suffix="films", hyperparameters={"n_epochs": "auto", "batch_size": 4})
    job = made.json()
    assert (job["status"], job["adapter"], job["task"], job["seed"]) == (
        "validating_files",
        "films",
        "sentiment",
        3,
    )
    auto = {"n_epochs": "auto", "batch_size": 4, "learning_rate_multiplier": "auto"}
    assert job["hyperparameters"] == auto
    one = f"{JOBS}/{job['id']}"
    assert client.get(one).json() == job
    other = create(client).json()
    page = client.get(JOBS, params={"limit": 1}).json()
    assert ([found["id"] for found in page["data"]], page["has_more"]) == ([other["id"]], True)
    page = client.get(JOBS, params={"limit": 1, "after": other["id"]}).json()
    assert ([found["id"] for found in page["data"]], page["has_more"]) == ([job["id"]], False)
    assert client.get(JOBS, params={"metadata[task]": "qa"}).json()["data"] == []
    assert error_of(client.delete(f"{FILES}/{job['training_file']}")) == (409, "conflict")
    assert client.post(f"{one}/cancel").json()["status"] == "cancelled"
    events = client.get(f"{one}/events").json()["data"]
    assert events[0]["message"] == "Cancelled."
    more = client.get(f"{one}/events", params={"after": events[0]["id"]}).json()["data"]
    assert more == events[1:]
    assert client.get(f"{one}/checkpoints").json()["data"] == []


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"model": "../tiny"}, (400, "invalid_name")),
        ({"model": "none"}, (404, "not_found")),
        ({"training_file": "file-none"}, (404, "not_found")),
        ({"integrations": [{"type": "wandb"}]}, (400, "bad_request")),
        ({"method": {"type": "dpo"}}, (400, "bad_request")),
        ({"hyperparameters": {"n_epochs": 0}}, (400, "bad_request")),
        ({"metadata": {"task": "sentiment", "recipe.base": "x"}}, (422, "bad_recipe")),
        ({"metadata": {str(number): "" for number in range(17)}}, (400, "bad_request")),
        ({"metadata": {"a" * 65: ""}}, (400, "bad_request")),
    ],
)
def test_a_job_that_cannot_be_trained_is_refused(refusing, asked, refusal) -> None:
    reply = create(refusing, **asked)
    assert error_of(reply) == refusal
    assert reply.json()["error"]["param"].startswith(min(asked))
    assert refusing.get(JOBS).json()["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", f"after={'a' * 65}", "after=nobody"])
def test_a_page_that_does_not_exist_is_refused(refusing, query: str) -> None:
    assert refusing.get(f"{JOBS}?{query}").status_code in (400, 404)


def test_training_and_deploying_are_rights_of_their_own(client, monkeypatch) -> None:
    client.headers["authorization"] = "Bearer none"
    assert error_of(client.get(FILES)) == (401, "unauthorized")
    assert error_of(upload(client)) == (401, "unauthorized")

    def check(self, authorization, right):
        caller = Caller("trainer", Scopes.parse(["train", "deploy:mine-*"]))
        caller.require(right)
        return caller

    monkeypatch.setattr(Keys, "check", check)
    asked = {"task": "sentiment", "deploy": "mine-1"}
    assert create(client, metadata=asked).status_code == 200
    assert error_of(create(client, metadata={**asked, "deploy": "theirs"})) == (403, "forbidden")
    monkeypatch.setattr(
        Keys, "check", lambda self, key, right: Caller("x", Scopes.parse(["infer"])).require(right)
    )
    assert error_of(client.get(JOBS)) == (403, "forbidden")
    assert Right.TRAIN == "train"


def test_the_command_line_lists_shows_and_cancels_without_a_server(client, monkeypatch) -> None:
    job = create(client, suffix="films").json()["id"]
    monkeypatch.setenv("COLUMNS", "200")
    run = CliRunner().invoke
    assert job in run(app, ["jobs", "list"]).stdout
    assert "films" in run(app, ["jobs", "show", job]).stdout
    assert run(app, ["jobs", "cancel", job]).exit_code == 0
    assert client.get(f"{JOBS}/{job}").json()["status"] == "cancelled"
    assert run(app, ["jobs", "cancel", job]).exit_code == 1
