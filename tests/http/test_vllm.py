"""Adapters that are loaded and unloaded while the server runs, as vLLM's clients ask for it."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from hub.api import HeadKind
from hub.errors import NotReady
from hub.serving.control.reconciler import Reconciler
from hub.store.card.folder import write_folder
from tests.http.conftest import serve
from tests.support.homes import FakeHome, plain_adapter

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
TEXT = {"text": "a warm film"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A folder that is allowed, and one beside it that is not."""
    return tmp_path_factory.mktemp("allowed"), tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def fake(tmp_path_factory, tiny_base_folder):
    return FakeHome(tmp_path_factory.mktemp("vllm"), tiny_base_folder)


@pytest.fixture(scope="module")
def server(fake, roots):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_SERVE__ADAPTER_ROOTS", json.dumps([str(roots[0])]))
        with serve(fake.path) as client:
            yield client


@pytest.fixture
def post(server, admin):
    return lambda path, **body: server.post(path, json=body, headers=admin)


@pytest.fixture
def exported(fake, roots, tmp_path):
    """Write a folder with a manifest to the allowed one."""

    def build(name, seed):
        version = fake.add("source", seed=seed)
        shutil.rmtree(roots[0] / name, ignore_errors=True)
        return write_folder(version, roots[0] / name)

    return build


def names(fake):
    return [deployment.name for deployment in fake.store.deployments()]


def refs(fake, name):
    return [str(version.ref) for version in fake.store.versions(name)]


def test_an_adapter_is_loaded_answers_and_is_unloaded(server, post, fake, exported) -> None:
    folder = exported("first", seed=11)
    reply = post(LOAD, lora_name="first", lora_path=str(folder))
    assert reply.status_code == 200, reply.text
    assert reply.text == "Success: LoRA adapter 'first' added successfully."
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.headers["x-hub-version"] == "first@1" and len(reply.headers["x-hub-sha256"]) == 64
    answer = server.post("/v1/deployments/first/predict", json=TEXT)
    assert answer.headers["x-hub-sha256"] == reply.headers["x-hub-sha256"]
    assert "first" in [model["id"] for model in server.get("/v1/models").json()["data"]]
    reply = post(UNLOAD, lora_name="first")
    assert (reply.status_code, reply.text) == (200, "Success: LoRA adapter 'first' removed successfully.")
    assert server.post("/v1/deployments/first/predict", json=TEXT).status_code == 404
    assert refs(fake, "first") == ["first@1"], "the version stays"


def test_a_loaded_adapter_is_only_replaced_in_place(server, post, fake, exported) -> None:
    post(LOAD, lora_name="second", lora_path=str(exported("second", seed=12)))
    again = {"lora_name": "second", "lora_path": str(exported("second", seed=13))}
    reply = post(LOAD, **again)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "already_loaded")
    assert "'second' has already been loaded" in reply.json()["error"]["message"]
    assert refs(fake, "second") == ["second@1"]
    reply = post(LOAD, **again, load_inplace=True)
    assert (reply.status_code, reply.headers["x-hub-version"]) == (200, "second@2")
    answer = server.post("/v1/deployments/second/predict", json=TEXT)
    assert answer.headers["x-hub-version"] == "second@2"


def test_the_same_content_is_the_same_version(post, fake, exported) -> None:
    folder = exported("same", seed=14)
    for _ in range(2):
        assert post(LOAD, lora_name="same", lora_path=str(folder)).status_code == 200
        assert post(UNLOAD, lora_name="same").status_code == 200
    assert refs(fake, "same") == ["same@1"]


def test_a_plain_folder_says_its_base_and_the_caller_its_task(post, fake, roots) -> None:
    folder = plain_adapter(roots[0] / "plain", seed=15)
    asked = {"lora_name": "plain", "lora_path": "plain"}
    reply = post(LOAD, **asked)
    assert reply.status_code == 400 and "classification, sentiment" in reply.json()["error"]["message"]
    reply = post(LOAD, **asked, task="classification")
    assert reply.status_code == 400 and "'base'" in reply.json()["error"]["message"]
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"somewhere/{fake.base.name}"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    reply = post(LOAD, **asked, task="classification")
    assert reply.status_code == 200, reply.text
    assert fake.store.get("plain").manifest.serving.task == "classification"


def test_the_expected_hash_is_that_of_the_weights(post, fake, exported) -> None:
    folder = exported("hashed", seed=16)
    right = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    asked = {"lora_name": "hashed", "lora_path": str(folder)}
    reply = post(LOAD, **asked, expected_sha256="0" * 64)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "bad_adapter")
    assert refs(fake, "hashed") == []
    assert post(LOAD, **asked, expected_sha256=right).status_code == 200


def test_a_path_outside_of_the_allowed_folders_is_refused_whether_it_exists_or_not(
    post, fake, roots, exported
) -> None:
    allowed, private = roots
    shutil.copytree(exported("outside", seed=17), private / "outside", dirs_exist_ok=True)
    link = allowed / "link"
    link.symlink_to(private / "outside", target_is_directory=True)
    for path in (
        private / "outside",
        private / "absent",
        link,
        f"{allowed}/../{private.name}/outside",
        "../outside",
        "/",
        "/etc/passwd",
    ):
        reply = post(LOAD, lora_name="outside", lora_path=str(path))
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden"), path
        assert "serve.adapter_roots" in reply.json()["error"]["message"]
    assert refs(fake, "outside") == []


def test_a_link_among_the_files_is_refused(post, fake, roots, exported) -> None:
    folder = exported("linked", seed=18)
    secret = roots[1] / "secret.json"
    secret.write_text('{"secret": 1}')
    (folder / "config.json").symlink_to(secret)
    reply = post(LOAD, lora_name="linked", lora_path=str(folder))
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "bad_adapter")
    assert "config.json is a symbolic link" in reply.json()["error"]["message"]
    assert refs(fake, "linked") == []


def test_a_pickle_is_not_opened(post, fake, roots, exported) -> None:
    folder = exported("pickled", seed=19)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    reply = post(LOAD, lora_name="pickled", lora_path=str(folder))
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "unsafe_weights")


def test_a_version_that_cannot_be_deployed_is_not_kept(server, post, fake, roots) -> None:
    reader = fake.add("source-reader", seed=20, task="qa", kind=HeadKind.SPAN, labels=())
    folder = write_folder(reader, roots[0] / "reader")
    assert post(LOAD, lora_name="mood", lora_path=str(plain(fake, roots))).status_code == 200
    reply = post(LOAD, lora_name="mood", lora_path=str(folder), load_inplace=True)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
    assert refs(fake, "mood") == ["mood@1"]
    assert server.post("/v1/deployments/mood/predict", json=TEXT).headers["x-hub-version"] == "mood@1"


def test_what_failed_is_told_also_where_the_version_cannot_be_removed(
    server, post, fake, exported, monkeypatch, caplog
) -> None:
    """The catalog has the deployment, but then does not answer the server that changed it."""

    def fails(reconciler: Reconciler) -> bool:
        raise NotReady("The catalog does not answer.")

    monkeypatch.setattr(Reconciler, "_publish_change", fails)
    reply = post(LOAD, lora_name="half", lora_path=str(exported("half", seed=22)))
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_ready")
    assert "The catalog does not answer" in reply.json()["error"]["message"]
    assert "half@1 could not be deployed, and stays in the store: half@1 is live in 'half'" in caplog.text
    assert "half" in names(fake)


def plain(fake, roots):
    return write_folder(fake.add("source", seed=21), roots[0] / "mood")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"lora_path": "absent"}, 404, "not_found"),
        ({"lora_path": "file"}, 404, "not_found"),
        ({"lora_path": "empty"}, 422, "bad_adapter"),
        ({"lora_path": "a\0b"}, 400, "bad_request"),
        ({"lora_path": "x" * 300}, 404, "not_found"),
        ({"lora_path": ""}, 400, "bad_request"),
        ({}, 400, "bad_request"),
        ({"lora_path": "empty", "lora_name": "Not A Name"}, 400, "invalid_name"),
        ({"lora_path": "empty", "lora_name": "../x"}, 400, "invalid_name"),
        ({"lora_path": "empty", "expected_sha256": "abc"}, 400, "bad_request"),
    ],
)
def test_a_wrong_load_is_refused_in_the_form_of_openai(post, roots, fake, body, status, code) -> None:
    (roots[0] / "empty").mkdir(exist_ok=True)
    (roots[0] / "file").write_text("x")
    reply = post(LOAD, **{"lora_name": "wrong", **body})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["type"] and "wrong" not in names(fake)


def test_what_is_not_loaded_cannot_be_unloaded(post) -> None:
    reply = post(UNLOAD, lora_name="nobody")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")
    assert post(UNLOAD).status_code == 400


def test_both_need_the_admin_key(server) -> None:
    for path, body in ((LOAD, {"lora_name": "x", "lora_path": "x"}), (UNLOAD, {"lora_name": "x"})):
        reply = server.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")
