"""docs/deploy: manifests are valid, settings and paths exist, and the balancer keeps its promise."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from docs import scale_table
from hub.config import load_settings
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES_VERSION = "1.34"
OWN_KINDS = ("Kustomization",)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_a_manifest_is_valid(path: Path) -> None:
    for document in documents(path):
        if document["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_the_kustomization_has_every_manifest_but_the_secret() -> None:
    (found,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    others = {path.name for path in KUBERNETES} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(found["resources"]) == others


def test_the_container_of_the_serving_runtime_is_valid() -> None:
    (runtime,) = documents(DEPLOY / "kserve.yaml")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": runtime["spec"]["containers"]},
    }
    kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


def test_the_settings_are_those_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = documents(DEPLOY / "kubernetes" / "config.yaml")
    (secret,) = documents(DEPLOY / "kubernetes" / "secret.example.yaml")
    (compose,) = documents(DEPLOY / "compose.yaml")
    (tmp_path / "hub.toml").write_text(config["data"]["hub.toml"])
    monkeypatch.chdir(tmp_path)
    given = {**secret["stringData"], **compose["x-hub"]["environment"]}
    for name, value in given.items():
        plain = re.sub(r"\$\{\w+:\?\}", "a-random-text-of-32-characters-at-least", value)
        monkeypatch.setenv(
            name, plain.replace("hub-admin", "x") + ("-2" if name.endswith("SESSION_KEY") else "")
        )
    monkeypatch.setenv("HUB_SERVE__API_KEYS", '["another-random-text-of-32-characters"]')
    settings = load_settings()
    assert settings.serve.host == "0.0.0.0"
    assert settings.catalog.url.startswith("postgresql://")
    assert settings.store.blobs.startswith("s3://")
    assert settings.serve.session_key


def test_the_compose_file_finds_its_variables_files_and_services() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    (compose,) = documents(DEPLOY / "compose.yaml")
    services = compose["services"]
    for service in services.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            known = (
                (DEPLOY / source).resolve().exists()
                if source.startswith(".")
                else source in compose["volumes"]
            )
            assert known, source
        assert set(service.get("depends_on", ())) <= set(services)
        for config in service.get("configs", ()):
            assert config["source"] in compose["configs"]
    for upstream in re.findall(r"server (\S+):3000", (DEPLOY / "nginx.conf").read_text(encoding="utf-8")):
        assert upstream in services


def test_the_image_is_installed_as_a_checkout_is() -> None:
    steps = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--)(.+) \S+$", steps, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    installs = re.findall(r"pip install (.+?)(?: \\| *\n|$)", steps)
    assert all("--constraint constraints.txt" in step for step in installs)
    extras = re.search(r"'\.\[(.+?)\]'", steps)
    assert extras
    known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", known, re.MULTILINE) for extra in extras[1].split(","))


def test_the_autoscaler_reads_a_metric_that_there_is() -> None:
    text = (DEPLOY / "kubernetes" / "autoscaler.yaml").read_text(encoding="utf-8")
    (metric,) = re.findall(r"seriesQuery: '(\w+)_bucket", text)
    assert f"`{metric}`" in (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


@contextmanager
def replica(name: str, seen: dict[str, list[str]]) -> Iterator[ThreadingHTTPServer]:
    """A server that notes which paths it was asked for."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen[name].append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def balancer(folder: Path, ports: dict[str, int]) -> Iterator[str]:
    """The shipped configuration in a real nginx, with its upstreams on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (
        (DEPLOY / "nginx.conf").read_text(encoding="utf-8").replace("listen 8080", f"listen 127.0.0.1:{port}")
    )
    for name, upstream in ports.items():
        text = text.replace(f"{name}:3000", f"127.0.0.1:{upstream}")
    places = "".join(
        f"{kind}_temp_path {folder}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {", f"http {{ {places} access_log off;", 1).replace(
        "worker_processes auto;", "worker_processes 1;"
    )
    (folder / "nginx.conf").write_text(f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n{text}")
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        assert until(lambda: _answers(url), 10), (folder / "error.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        httpx.post(url)
    except httpx.HTTPError:
        return False
    return True


@pytest.mark.skipif(not shutil.which("nginx"), reason="NOT TESTED with nginx: it is not installed")
def test_a_deployment_stays_with_its_replica_and_moves_when_that_is_gone(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    names = [f"mood-{number}" for number in range(24)]
    with (
        replica("hub-1", seen) as one,
        replica("hub-2", seen) as two,
        balancer(tmp_path, {"hub-1": one.server_port, "hub-2": two.server_port}) as url,
        httpx.Client(base_url=url) as client,
    ):
        seen.clear()
        for _ in range(3):
            for name in names:
                client.post(f"/v1/deployments/{name}/predict", content=b"{}")
        homes = {
            name: {who for who, paths in seen.items() if any(f"/{name}/" in path for path in paths)}
            for name in names
        }
        assert all(len(found) == 1 for found in homes.values())
        assert {next(iter(found)) for found in homes.values()} == {"hub-1", "hub-2"}
        two.shutdown()
        two.server_close()
        assert all(
            client.post(f"/v1/deployments/{name}/predict", content=b"{}").status_code == 200 for name in names
        )


def test_the_reckoning_of_scale_is_the_one_of_its_script() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert scale_table.markdown() in page
    need = scale_table.reckon(10, 1, scale_table.Assumptions())
    assert (need.machines, need.adapters_each) == (2, 5)  # never one machine alone
