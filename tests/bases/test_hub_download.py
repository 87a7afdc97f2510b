"""The real hub client against a small server that answers as a model hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from hub.api import Pooling
from hub.bases.cache import Bases
from hub.bases.pooling import POOLING_FILE

COMMIT = "c" * 40
PULL = """
import json, sys
from pathlib import Path
from hub.bases.cache import Bases
from hub.errors import HubError

steps = []
try:
    base = Bases(Path(sys.argv[1])).pull(sys.argv[2], progress=lambda *step: steps.append(step))
    print(json.dumps({"name": base.name, "source": base.source, "steps": steps}))
except HubError as error:
    print(json.dumps({"code": error.code, "message": str(error)}))
"""


@pytest.fixture
def model_hub() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Serve one repository, org/model, whose `main` holds the files given; returns the address."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

        def _answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            resolve = f"/org/model/resolve/{COMMIT}/"
            if path == "/api/models/org/model/revision/main":
                listing = [{"rfilename": name} for name in files]
                body = json.dumps({"id": "org/model", "sha": COMMIT, "siblings": listing}).encode()
            elif path.startswith(resolve) and path.removeprefix(resolve) in files:
                body = files[path.removeprefix(resolve)]
            else:
                code = "RevisionNotFound" if "/org/model/" in path else "RepoNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def serve(content: dict[str, bytes]) -> str:
            files.update(content)
            return f"http://127.0.0.1:{server.server_port}"

        try:
            yield serve
        finally:
            server.shutdown()
            thread.join()


def pull(home: Path, source: str, **environment: str):
    done = subprocess.run(
        [sys.executable, "-c", PULL, str(home), source],
        env={**os.environ, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_only_model_files_are_downloaded(model_hub, model_folder, contents, tmp_path: Path) -> None:
    wanted = contents(model_folder())
    address = model_hub({**wanted, "pytorch_model.bin": b"\x80\x04.", "modeling.py": b"print('run me')"})
    told = pull(tmp_path, "hf:org/model@main", HF_ENDPOINT=address)
    assert (told["name"], told["source"]) == ("model", "hf:org/model@main")
    base = Bases(tmp_path).get("model")
    assert {path.name for path in base.path.iterdir()} == {*wanted, "base.json"}
    assert {name: (base.path / name).read_bytes() for name in wanted} == wanted
    size = len(wanted["model.safetensors"])
    assert ["download model.safetensors", size, size] in told["steps"]


def test_how_the_base_was_trained_to_pool_is_downloaded_too(
    model_hub, model_folder, contents, tmp_path: Path
) -> None:
    pooling = json.dumps({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}).encode()
    wanted = contents(model_folder())
    address = model_hub({**wanted, POOLING_FILE: pooling, "2_Normalize/config.json": b"{}"})
    pull(tmp_path, "hf:org/model@main", HF_ENDPOINT=address)
    base = Bases(tmp_path).get("model")
    assert base.pooling is Pooling.MEAN
    assert {path.name for path in base.path.iterdir()} == {*wanted, "base.json", "1_Pooling"}


def test_a_repository_of_pickles_is_refused_before_any_download(model_hub, tmp_path: Path) -> None:
    address = model_hub({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."})
    told = pull(tmp_path, "hf:org/model", HF_ENDPOINT=address)
    assert told["code"] == "unsafe_weights"
    assert Bases(tmp_path).list() == []


@pytest.mark.parametrize("source", ["hf:org/none@main", "hf:org/model@other"])
def test_an_unknown_repository_or_revision_is_a_failed_source(model_hub, tmp_path: Path, source: str) -> None:
    told = pull(tmp_path, source, HF_ENDPOINT=model_hub({}))
    assert told["code"] == "source_unavailable"
    assert source in told["message"]


@pytest.mark.parametrize(
    "environment",
    [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}],
    ids=["refused", "offline"],
)
def test_a_hub_out_of_reach_is_a_failed_source(tmp_path: Path, environment: dict[str, str]) -> None:
    told = pull(tmp_path, "hf:org/model@main", **environment)
    assert told["code"] == "source_unavailable"
    assert "hub base pull minilm" in told["message"]
    assert [path for path in (tmp_path / "bases").iterdir() if path.name != ".locks"] == []
