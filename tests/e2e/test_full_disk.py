"""A home on a disk that fills up: two workers go on serving, say so, and recover once there is room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hub.store.change import Deploy
from tests.e2e.replicas import Hammer, Server
from tests.support.homes import FakeHome
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

SIZE = "48m"
FILLER = "filler"
SERVED = "Versions in memory are served as before"
ROOM = "has room again"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is a file system of its own."""
    folder = tmp_path_factory.mktemp("disk") / "home"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the program mount")
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def two_workers(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`mood@1` and `mood@2` stored; each answer is to be written to the disk."""
    from tests.support.tiny import tiny_encoder

    base = tmp_path_factory.mktemp("base") / "tiny"
    tiny_encoder(base)
    home = FakeHome(small_disk, base)
    home.add("mood", seed=1), home.add("mood", seed=2)
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    with Server(small_disk, {"HUB_FEEDBACK__KEEP": "texts"}, "--replicas", "2").running() as server:
        server.wait()
        yield server


@pytest.fixture
def server(two_workers: Server) -> Iterator[Server]:
    """Two workers, `mood@1` live, and room on the disk before and after."""
    assert until(lambda: len(two_workers.replicas()) == 2), two_workers.log()
    assert two_workers.admin("deployments/mood", "PUT", {"version": "mood@1"}).is_success
    assert until(lambda: [two_workers.version() for _ in range(8)] == ["mood@1"] * 8)
    yield two_workers
    (two_workers.home / FILLER).unlink(missing_ok=True)
    assert until(lambda: disk_error(two_workers) == "")


def fill(folder: Path) -> None:
    """Write until there is no room for a byte."""
    with (folder / FILLER).open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                continue


def disk_error(server: Server) -> str:
    return str(server.admin("status").json()["disk"]["error"])


def answered_by_both(server: Server, hammer: Hammer) -> bool:
    """Tell whether both replicas of now have answered since the hammering began."""
    return {answer.replica for answer in hammer.with_status(200)} >= server.replicas().keys()


def test_a_full_disk_stops_no_answer_and_is_said_until_there_is_room(server: Server) -> None:
    assert disk_error(server) == ""
    lost, found = (server.log().count(words) for words in (SERVED, ROOM))
    with Hammer(server.url, "mood").hammering() as before:
        fill(server.home)
        with Hammer(server.url, "mood").hammering() as hammer:
            assert until(lambda: answered_by_both(server, hammer) and len(hammer.answers) > 100)
            assert "is full" in disk_error(server)
            assert "is full" in server.hub("status")
            assert until(lambda: server.log().count(SERVED) == lost + 2), "each worker logs it"
            # SQLite may still have room in its log; the other replica serves the change a poll later.
            changed = server.admin("deployments/mood", "PUT", {"version": "mood@2"})
            assert changed.is_success or changed.json()["error"]["message"], changed.text
            served = "mood@2" if changed.is_success else "mood@1"
            assert until(lambda: [server.version() for _ in range(8)] == [served] * 8)
    assert {answer.status for answer in before.answers + hammer.answers} == {200}, server.log()
    (server.home / FILLER).unlink()
    assert until(lambda: disk_error(server) == "")
    assert until(lambda: server.log().count(ROOM) == found + 2), server.log()
    assert until(lambda: server.admin("deployments/mood", "PUT", {"version": "mood@2"}).is_success)
    assert until(lambda: server.version() == "mood@2")


def test_a_worker_that_is_killed_while_the_disk_is_full_is_replaced(server: Server) -> None:
    fill(server.home)
    gone, *_ = server.replicas().values()
    os.kill(gone["pid"], signal.SIGKILL)
    found: set[str] = set()

    def both_answer() -> bool:
        try:
            reply = server.ask()
        except httpx.TransportError:  # it was on its way to the killed worker
            return False
        assert reply.status_code == 200, reply.text
        found.add(reply.headers["x-hub-replica"])
        return len(found - {gone["id"]}) == 2

    assert until(both_answer), server.log()
    assert "is full" in disk_error(server)
