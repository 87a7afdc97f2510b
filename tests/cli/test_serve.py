"""`hub serve` as users run it: a server process with real forward passes on a tiny base."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.cli.quickstart.local_server import free_port
from hub.client import server_file
from hub.store.change import Deploy
from tests.support.homes import FakeHome
from tests.support.preloaded import Process, preloaded
from tests.support.waiting import ready_server, until

pytestmark = pytest.mark.e2e

TEXTS = [f"film number {number} is fine" for number in range(6)]
START_LIMIT_S = 180


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "hub", *args]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HUB_HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def hub(home: Path, *args: str, status: int = 0) -> str:
    done = preloaded().run("hub", *args, env=environment(home))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def hub_here(home: Path, *args: str) -> str:
    """Run a command in this process."""
    done = CliRunner().invoke(app, list(args), env=environment(home))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


@contextmanager
def running(home: Path, arguments: Sequence[str], *, forked: bool = False) -> Iterator[Process]:
    """Run a server until the block ends; it must then stop by itself when told to."""
    log = home.parent / f"{home.name}.log"
    with log.open("ab") as out:
        if forked:
            process = preloaded().start("hub", *arguments, env=environment(home), stdout=out, stderr=out)
        else:
            process = subprocess.Popen(arguments, env=environment(home), stdout=out, stderr=out)
    try:
        wait_until_ready(home, process, log)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"the server ignored SIGTERM:\n{log.read_text()}") from None


def wait_until_ready(home: Path, process: Process, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if ready_server(home):
            return
        time.sleep(0.1)
    raise AssertionError(f"not ready in time:\n{log.read_text()}")


def ask(client: httpx.Client, text: str) -> tuple[str, dict[str, float]]:
    reply = client.post("/v1/deployments/mood/predict", json={"text": text})
    reply.raise_for_status()
    return reply.headers["x-hub-version"], reply.json()["scores"]


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> FakeHome:
    """Three versions of `mood`; the first is live."""
    home = FakeHome(tmp_path_factory.mktemp("served") / "home", base_folder)
    for seed in (1, 2, 3):
        home.add("mood", seed=seed)
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    return home


@pytest.fixture(scope="module")
def server(home: FakeHome) -> Iterator[httpx.Client]:
    with running(home.path, command("serve", "--port", "0", "--engine", "torch")):
        found = server_file.read(home.path)
        assert found
        with httpx.Client(base_url=found.url, timeout=60) as client:
            yield client


def test_it_serves_the_deployments_of_the_catalog(server, home) -> None:
    version, scores = ask(server, TEXTS[0])
    assert version == "mood@1"
    assert sum(scores.values()) == pytest.approx(1.0)
    assert server.get("/livez").status_code == 200
    assert "hub_forward_seconds_count" in server.get("/metrics").text


def test_its_record_is_there_and_names_its_process(server, home) -> None:
    found = server_file.read(home.path)
    assert found
    assert httpx.URL(found.url) == server.base_url.copy_with(path="")


def test_commands_find_it(server, home) -> None:
    status = json.loads(hub(home.path, "status", "--json"))
    assert status["server"]
    assert status["engines"][0]["engine"]["name"] == "torch"
    answer = json.loads(hub(home.path, "predict", "mood", TEXTS[0], "--json"))
    assert answer["scores"] == pytest.approx(ask(server, TEXTS[0])[1])


def test_no_answer_fails_or_is_wrong_while_versions_swap(server, home) -> None:
    """Swapped by the command, by the catalog alone, and back; every answer fits the version it names."""
    truth = {}
    for ref in ("mood@1", "mood@2", "mood@3"):
        hub_here(home.path, "deploy", ref)
        truth[ref] = {text: ask(server, text)[1] for text in TEXTS}
    stop, seen, failures = threading.Event(), [], []

    def keep_asking(turn: int) -> None:
        with httpx.Client(base_url=server.base_url, timeout=60) as client:
            while not stop.is_set():
                text = TEXTS[(turn := turn + 1) % len(TEXTS)]
                try:
                    version, scores = ask(client, text)
                except httpx.HTTPError as error:
                    failures.append(error)
                else:
                    seen.append((version, scores == pytest.approx(truth[version][text], abs=1e-5)))

    clients = [threading.Thread(target=keep_asking, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    hub_here(home.path, "deploy", "mood@1", "--reason", "again")
    assert ask(server, TEXTS[0])[0] == "mood@1"
    home.store.deploy("mood", Deploy(version="mood@2", by="another process"))
    moved = until(lambda: ask(server, TEXTS[0])[0] == "mood@2")
    assert moved, "a move in the catalog goes live by itself"
    hub_here(home.path, "rollback", "mood")
    assert ask(server, TEXTS[0])[0] == "mood@1"
    assert until(lambda: len(seen) > 30), "the clients go on"
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert all(right for _, right in seen)
    assert {"mood@1", "mood@2"} <= {version for version, _ in seen}


def test_a_second_server_of_the_same_home_is_refused(server, home) -> None:
    assert "already running at" in hub(home.path, "serve", "--port", "0", status=1)


def test_a_port_that_is_taken_is_an_error(server, tmp_path) -> None:
    result = hub(tmp_path, "serve", "--port", str(server.base_url.port), status=1)
    assert "--port" in result


def test_beyond_loopback_without_keys_is_refused(tmp_path) -> None:
    assert "serve.api_keys" in hub(tmp_path, "serve", "--host", "0.0.0.0", status=1)


def test_a_damaged_catalog_fails_at_once(tmp_path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database, whatever it is called" * 100)
    assert "catalog.db is damaged" in hub(tmp_path, "serve", "--port", "0", status=1)


def test_a_stop_waits_for_requests_and_erases_the_record(tmp_path, base_folder) -> None:
    home = FakeHome(tmp_path / "home", base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    items = [{"text": f"{' '.join(TEXTS)} {number}"} for number in range(250)]
    answered: list[int] = []

    def ask_much(url: str) -> None:
        reply = httpx.post(f"{url}/v1/deployments/mood/predict", json={"items": items}, timeout=60)
        answered.append(sum("result" in item for item in reply.json()["items"]))

    serve = ("serve", "--port", "0", "--engine", "torch")
    with running(home.path, serve, forked=True) as process:
        found = server_file.read(home.path)
        assert found
        callers = [threading.Thread(target=ask_much, args=(found.url,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        while leases(home.path, found.url) < len(callers):
            assert answered == [], "the stop has to come while all of them are under way"
        port = httpx.URL(found.url).port
        fresh = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(100)]
        for connection in fresh:
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        answers = [connection.recv(12) for connection in fresh]
        for connection in fresh:
            connection.close()
        for caller in callers:
            caller.join()
    assert answers == [b"HTTP/1.1 200"] * len(fresh), "no request that was sent before is reset"
    assert answered == [len(items)] * len(callers)
    assert not (home.path / "server.json").exists()


def leases(home: Path, url: str) -> int:
    key = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
    status = httpx.get(f"{url}/admin/status", headers=key, timeout=60).json()
    slots = [slot for engine in status["engines"] for slot in engine["slots"]["resident"]]
    return sum(slot["leases"] for slot in slots)  # no engine yet while the base loads


def test_the_record_of_a_server_that_was_killed_fools_nobody(home, tmp_path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = FakeHome(tmp_path / "home", home.base.path)
    stale.add("mood", seed=1)
    server_file.write(
        stale.path, server_file.ServerRecord("http://127.0.0.1:9", dead.pid, "2026-01-01T00:00:00+00:00")
    )
    assert "No server runs" in hub_here(stale.path, "deploy", "mood@1")


def test_a_built_bento_serves_as_well(tmp_path, base_folder) -> None:
    """`bentoml build`, then `bentoml serve` of what it built."""
    home = FakeHome(tmp_path / "home", base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    root = Path(__file__).parents[2]
    folders = {"BENTOML_HOME": str(tmp_path / "bentos"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run(
        [bentoml, "build"],
        cwd=root,
        env={**environment(home.path), **folders},
        check=True,
        capture_output=True,
    )
    (bento,) = (tmp_path / "bentos" / "bentos" / "grafthub").glob("*/bento.yaml")
    packed = bento.parent / "src"
    assert (packed / "plugins" / "sentiment" / "pyproject.toml").is_file()
    assert not (packed / "tests").exists()
    assert "./src/plugins/*" in (bento.parent / "env" / "docker" / "Dockerfile").read_text()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**folders, "HUB_SERVE__ENGINE": "fake"}.items():
            patch.setenv(name, value)
        with running(home.path, [bentoml, "serve", str(bento.parent), "--port", str(free_port(0))]):
            found = server_file.read(home.path)
            assert found
            with httpx.Client(base_url=found.url, timeout=60) as client:
                assert ask(client, TEXTS[0])[0] == "mood@1"
