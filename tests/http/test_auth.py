"""Keys: the rights of API keys and of the admin key, and servers without keys."""

from __future__ import annotations

import hashlib
import json
import stat
import threading

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.config import load_settings
from hub.errors import BadConfig, Forbidden, Unauthorized
from hub.http.auth import Keys, Right, check_exposure, local_admin_key
from hub.keys import hash_key

ADMIN, API = "the-admin-key-of-a-test", "an-api-key-of-a-test"


@pytest.mark.parametrize(
    ("sent", "right", "refusal"),
    [
        (None, Right.INFER, Unauthorized),
        ("", Right.INFER, Unauthorized),
        ("Bearer", Right.INFER, Unauthorized),
        ("Bearer wrong", Right.INFER, Unauthorized),
        (f"Basic {API}", Right.INFER, Unauthorized),
        (f"Bearer {API}", Right.INFER, None),
        (f"bearer  {API}", Right.INFER, None),
        (f"Bearer {ADMIN}", Right.INFER, None),
        (None, Right.ADMIN, Unauthorized),
        ("Bearer wrong", Right.ADMIN, Unauthorized),
        (f"Bearer {API}", Right.ADMIN, Forbidden),
        (f"Bearer {ADMIN}", Right.ADMIN, None),
        (None, Right.TRAIN, Unauthorized),
        (f"Bearer {API}", Right.TRAIN, Forbidden),
        (f"Bearer {API}", Right.DEPLOY, Forbidden),
        (f"Bearer {ADMIN}", Right.TRAIN, None),
        (f"Bearer {ADMIN}", Right.DEPLOY, None),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_keys(sent, right, refusal, hashed) -> None:
    admin, api = (f"sha256:{hashlib.sha256(k.encode()).hexdigest()}" if hashed else k for k in (ADMIN, API))
    keys = Keys(admin, ["another-key-of-a-test", api])
    if refusal is None:
        keys.check(sent, right)
    else:
        with pytest.raises(refusal):
            keys.check(sent, right)


def test_inference_is_open_where_no_key_is_set_and_admin_never_is() -> None:
    keys = Keys(ADMIN)
    keys.check(None, Right.INFER)
    with pytest.raises(Unauthorized):
        keys.check(None, Right.ADMIN)


NO_KEYS = {
    "": "16 characters",
    "x": "16 characters",
    "fifteen-charact": "16 characters",
    "a key with spaces in it": "without spaces",
    "a-key-with-a-tab-\t-in-it": "without spaces",
    " a-key-after-a-space": "without spaces",
    "a-key-before-a-newline\n": "without spaces",
    "schlüssel-zum-haus-und-hof": "ASCII",
    "sha256:abc": "64 hex digits",
    "sha256:" + "g" * 64: "64 hex digits",
    "k" * 2000: "at most",
}


@pytest.mark.parametrize(("key", "says"), NO_KEYS.items())
def test_what_is_no_key_is_refused_by_the_settings_and_is_not_repeated(monkeypatch, key, says) -> None:
    with pytest.raises(BadConfig, match=says):
        Keys(key)
    monkeypatch.setenv("HUB_SERVE__API_KEYS", json.dumps([API, key]))
    with pytest.raises(BadConfig, match=rf"serve.api_keys.*number 2: .*{says}") as refused:
        load_settings()
    assert len(key) < 2 or key.strip() not in str(refused.value)
    monkeypatch.delenv("HUB_SERVE__API_KEYS")
    if key:
        with pytest.raises(BadConfig, match=rf"serve\.admin_key.*{says}"):
            load_settings(flags={"serve": {"api_keys": [API], "admin_key": key}})


@pytest.mark.parametrize("keys", ['[""]', '["x"]', "x"])
def test_a_server_with_a_bad_key_is_refused_before_it_binds(monkeypatch, home, keys) -> None:
    monkeypatch.setenv("HUB_SERVE__API_KEYS", keys)
    refusal = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--port", "0"]).exception
    assert isinstance(refusal, BadConfig)
    assert not (home.path / "server.json").exists()


def test_each_key_is_given_once() -> None:
    for twice in ([API, API], [API, hash_key(API)]):
        with pytest.raises(BadConfig, match="listed twice"):
            load_settings(flags={"serve": {"api_keys": twice}})
    with pytest.raises(BadConfig, match="admin_key is one of"):
        load_settings(flags={"serve": {"api_keys": [API], "admin_key": API}})


def test_settings_hold_only_hashes_of_api_keys() -> None:
    settings = load_settings(flags={"serve": {"api_keys": [API]}})
    assert settings.serve.api_keys == (hash_key(API),)
    assert API not in settings.model_dump_json()
    Keys(ADMIN, settings.serve.api_keys).check(f"Bearer {API}", Right.INFER)
    with pytest.raises(Unauthorized):
        Keys(ADMIN, settings.serve.api_keys).check(f"Bearer {hash_key(API)}", Right.INFER)


@pytest.mark.parametrize("given", ["abc", '["x"', "{"])
def test_a_variable_that_is_no_list_is_refused_without_a_traceback(monkeypatch, given) -> None:
    monkeypatch.setenv("HUB_SERVE__API_KEYS", given)
    with pytest.raises(BadConfig, match="HUB_SERVE__"):
        load_settings()


@pytest.mark.parametrize("host", ["https://hub.example", "hub.example:80", "[::1]", "a/b", ""])
def test_an_allowed_host_is_a_name_alone(host) -> None:
    with pytest.raises(BadConfig, match=r"allowed_hosts.*number 1: .*without a scheme"):
        load_settings(flags={"serve": {"allowed_hosts": [host]}})


def test_the_local_admin_key_is_made_once_for_its_owner_alone(tmp_path) -> None:
    home = tmp_path / "home"
    made = []
    threads = [threading.Thread(target=lambda: made.append(local_admin_key(home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(made[0]) > 30
    assert stat.S_IMODE((home / "admin.key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["admin.key"]


def test_an_empty_key_file_is_no_key(tmp_path) -> None:
    for content in (b"", b"short\n", b"two words and some more\n", b"\xff" * 40):
        (tmp_path / "admin.key").write_bytes(content)
        with pytest.raises(BadConfig, match="does not hold a key"):
            local_admin_key(tmp_path)


def test_an_empty_key_file_is_found_before_a_server_starts(home) -> None:
    (home.path / "admin.key").touch()
    with pytest.raises(BadConfig, match="does not hold a key"):
        check_exposure("127.0.0.1", load_settings())


@pytest.mark.parametrize(
    ("host", "open_to_all"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.7", True),
        ("example.org", True),
    ],
)
def test_beyond_loopback_keys_are_needed(host, open_to_all) -> None:
    check_exposure(host, load_settings(flags={"serve": {"api_keys": [API]}}))
    if open_to_all:
        with pytest.raises(BadConfig, match=r"serve\.api_keys"):
            check_exposure(host, load_settings())
    else:
        check_exposure(host, load_settings())


@pytest.mark.parametrize("path", ["/admin/status", "/admin/deployments", "/admin/deployments/mood"])
def test_admin_routes_ask_for_the_key(client, path, admin) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path).headers["www-authenticate"] == "Bearer"
    assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers=admin).status_code in (200, 404)


def test_api_keys_close_inference(monkeypatch, serving) -> None:
    monkeypatch.setenv("HUB_SERVE__API_KEYS", f'["{API}"]')
    with serving() as client:
        for method, path in (("GET", "/v1/tasks"), ("POST", "/v1/tasks/sentiment")):
            assert client.request(method, path).status_code == 401
        key = {"authorization": f"Bearer {API}"}
        assert client.get("/v1/tasks", headers=key).status_code == 200
        assert client.get("/admin/status", headers=key).status_code == 403
        assert client.get("/livez").status_code == 200


def test_a_worker_bound_to_the_world_without_keys_answers_nothing(monkeypatch, serving) -> None:
    monkeypatch.setattr("hub.http.bento._host_and_port", lambda url: ("localhost", 3000))
    with serving(ready=False) as client:
        for path in ("/livez", "/readyz", "/v1/tasks", "/"):
            reply = client.get(path)
            assert reply.status_code == 503
            assert "serve.api_keys" in reply.json()["error"]["message"]
            assert reply.headers["x-content-type-options"] == "nosniff"


def test_without_our_supervisor_the_settings_of_tls_are_not_passed_over(monkeypatch, serving) -> None:
    """`bentoml serve` would answer without TLS."""
    for name in ("CERT", "KEY"):
        monkeypatch.setenv(f"HUB_SERVE__TLS_{name}", "/nowhere")
    with serving(ready=False) as client:
        reply = client.get("/v1/tasks")
        assert reply.status_code == 503
        assert "--ssl-certfile" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("url", "address", "taken"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000", True),
        ("http://::1:3000", "http://[::1]:3000", True),
        ("http://192.168.1.7:3000", "http://192.168.1.7:3000", False),
        ("http://localhost:3000", "http://localhost:3000", False),  # what BentoML writes for 0.0.0.0
        (None, None, True),
    ],
)
def test_what_bentoml_bound_is_understood(service, monkeypatch, home, url, address, taken) -> None:
    monkeypatch.setattr(type(service), "url", property(lambda self: url))
    assert service.address == address
    app = service.to_asgi()
    assert (type(app).__name__ == "Closed") is not taken
