"""`hub serve` over TLS: commands find and trust it, and others verify its certificate."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from hub.client import server_file
from hub.client.http import find_server
from hub.config import load_settings
from hub.store.change import Deploy
from tests.cli.test_serve import hub, hub_here, running
from tests.support.certificates import Certificate, make_certificate
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder
from tests.support.waiting import until

__all__ = ["tiny_base_folder"]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> FakeHome:
    home = FakeHome(tmp_path_factory.mktemp("tls") / "home", tiny_base_folder)
    for seed in (1, 2):
        home.add("mood", seed=seed)
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    return home


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(home: FakeHome, certificate: Certificate) -> Iterator[server_file.ServerRecord]:
    """Two workers, of which the second one waits beside the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_SERVE__TLS_CERT", str(certificate.cert))
        patch.setenv("HUB_SERVE__TLS_KEY", str(certificate.key))
        arguments = ("serve", "--port", "0", "--engine", "fake", "--replicas", "2")
        with running(home.path, arguments, forked=True):
            patch.undo()  # commands do not have its settings
            found = server_file.read(home.path)
            assert found and found.url.startswith("https://127.0.0.1:")
            yield found


def test_a_client_that_trusts_the_certificate_is_answered_by_its_name(server, certificate) -> None:
    with httpx.Client(
        base_url=server.url, verify=ssl.create_default_context(cafile=str(certificate.cert)), timeout=60
    ) as client:
        assert until(lambda: client.get("/readyz").status_code == 200)  # also if the second worker answers
        reply = client.post("/v1/deployments/mood/predict", json={"text": "a film"})
        assert reply.status_code == 200 and reply.headers["x-hub-version"] == "mood@1"
        assert reply.headers["strict-transport-security"].startswith("max-age=")


def test_a_client_that_does_not_is_not_answered(server) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/livez")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(server.url.replace("https", "http"))


def test_commands_find_it_and_deploy_on_it(server, home) -> None:
    assert json.loads(hub_here(home.path, "status", "--json"))["server"] == server.url
    assert (
        json.loads(hub_here(home.path, "deploy", "mood@2", "--as", "mood", "--json"))["swap_ms"] is not None
    )
    answer = json.loads(hub_here(home.path, "predict", "mood", "a film", "--json"))
    assert sum(answer["scores"].values()) == pytest.approx(1)


def test_a_named_server_is_verified_by_the_authorities(server, home) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in hub(home.path, "deployments", "--server", server.url, status=1)


def test_commands_trust_no_other_certificate_at_its_address(server, home, tmp_path, monkeypatch) -> None:
    other = make_certificate(tmp_path / "other")
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for path in (other.cert, tmp_path / "none"):
        server_file.write(tmp_path / "home", replace(server, tls_cert=str(path)))
        assert find_server(load_settings()) is None
    server_file.write(tmp_path / "home", server)
    assert find_server(load_settings()) == server.url


def test_only_the_first_certificate_of_a_chain_is_trusted(server, certificate, tmp_path) -> None:
    chain = tmp_path / "chain"
    other = make_certificate(tmp_path / "other").cert
    chain.write_bytes(other.read_bytes() + certificate.cert.read_bytes())
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/livez", verify=replace(server, tls_cert=str(chain)).verify())
    chain.write_bytes(certificate.cert.read_bytes() + other.read_bytes())
    verify = replace(server, tls_cert=str(chain)).verify()
    assert httpx.get(f"{server.url}/livez", verify=verify).is_success


def test_it_does_not_start_with_a_certificate_that_cannot_be_used(home, tmp_path, monkeypatch) -> None:
    hidden = make_certificate(tmp_path, password=b"secret")
    monkeypatch.setenv("HUB_SERVE__TLS_CERT", str(hidden.cert))
    assert "go together" in hub(tmp_path / "home", "serve", status=1)
    monkeypatch.setenv("HUB_SERVE__TLS_KEY", str(hidden.key))
    assert "the key is encrypted" in hub(tmp_path / "home", "serve", status=1)
