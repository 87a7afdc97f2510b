"""Several processes that serve one catalog: they converge, and what one of them suffers the others do not."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import update

from hub.bases.cache import Bases
from hub.http.routes.pages import METRICS_S
from hub.store.catalog.replicas import SILENT_S, Replicas
from hub.store.catalog.tables import ReplicaRow
from hub.store.change import Deploy
from hub.store.store import Store
from tests.e2e.replicas import Hammer, Server
from tests.support.homes import FakeHome, add_version, plain_adapter
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> FakeHome:
    """Three versions of `mood`, the first live, and one of `fresh`."""
    home = FakeHome(tmp_path_factory.mktemp("served") / "home", base_folder)
    for seed in (1, 2, 3):
        home.add("mood", seed=seed)
    home.add("fresh", seed=4)
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    return home


@pytest.fixture(scope="module")
def server(home: FakeHome) -> Iterator[Server]:
    """Two workers on one port and one SQLite catalog."""
    with Server(home.path, {}, "--replicas", "2").running() as server:
        server.wait()
        assert until(lambda: len(server.replicas()) == 2), server.log()
        yield server
    assert Replicas(home.store.catalog).live() == [], "both took their rows away"
    assert not (home.path / "server.json").exists()


def versions_by_replica(server: Server, name: str = "mood", times: int = 60) -> dict[str, set[str]]:
    """Ask until both workers have answered, and some more; return what each said."""
    said: dict[str, set[str]] = {}
    for turn in range(2000):
        reply = server.ask(name)
        assert reply.status_code == 200, reply.text
        said.setdefault(reply.headers["x-hub-replica"], set()).add(reply.headers["x-hub-version"])
        if len(said) == 2 and turn >= times:
            break
    return said


def test_a_deploy_through_one_is_served_by_both(server) -> None:
    both = server.replicas()
    assert {one["url"] for one in both.values()} == {server.url}
    assert len({one["pid"] for one in both.values()}) == 2
    moved = server.json("deploy", "mood@2", "--wait", "--timeout", "30")
    assert (len(moved["serving"]), moved["missing"]) == (2, [])
    assert versions_by_replica(server) == {id: {"mood@2"} for id in both}
    assert {one["generation"] for one in server.replicas().values()} == {moved["generation"]}


def test_once_somebody_was_answered_nobody_is_told_that_the_name_is_unknown(server) -> None:
    hammer = Hammer(server.url, "fresh")
    with hammer.hammering():
        assert until(lambda: len(hammer.with_status(404)) > 5), "asked before it was there"
        assert server.admin("deployments/fresh", "PUT", {"version": "fresh@1"}).status_code == 200
        assert until(lambda: len({one.replica for one in hammer.with_status(200)}) == 2)
    first = min(answer.ended for answer in hammer.with_status(200))
    assert [answer for answer in hammer.answers if answer.began > first and answer.status != 200] == []


def nearly_gone(home: FakeHome | Shared, id: str) -> None:
    """Make the last report of a replica so old that it is gone in a second, unless it reports again."""
    seen = (datetime.now(UTC) - timedelta(seconds=SILENT_S - 1)).isoformat(timespec="microseconds")
    with home.store.catalog.write() as session:
        session.execute(update(ReplicaRow).where(ReplicaRow.id == id).values(seen=seen))


def test_a_worker_that_is_killed_disturbs_nobody_and_comes_back_with_what_is_live(server, home) -> None:
    before = server.replicas()
    victim = next(iter(before.values()))
    hammer = Hammer(server.url, "mood")
    with hammer.hammering():
        assert until(lambda: len({one.replica for one in hammer.with_status(200)}) == 2)
        os.kill(victim["pid"], signal.SIGKILL)
        moved = server.admin("deployments/mood", "PUT", {"version": "mood@3"})
        assert moved.status_code == 200, moved.text
        assert until(lambda: not psutil.pid_exists(victim["pid"]))
        ended = time.monotonic()
        assert until(lambda: server.replicas().keys() - before.keys() != set()), server.log()
        (new,) = server.replicas().keys() - before.keys()
        assert until(lambda: any(one.replica == new for one in hammer.with_status(200)))
    assert {one.status for one in hammer.answers} <= {0, 200}
    assert [one for one in hammer.with_status(0) if one.began > ended] == [], "broken off, not refused"
    assert {one.version for one in hammer.with_status(200) if one.replica == new} == {"mood@3"}
    nearly_gone(home, victim["id"])
    assert until(lambda: victim["id"] not in server.replicas()), "unheard of, it is gone"
    metrics_add_up(server)  # with the gauges of the killed one it would be three workers


def test_a_reload_replaces_one_worker_after_the_other_and_no_request_fails(server) -> None:
    before = set(server.replicas())
    hammer = Hammer(server.url, "mood")
    with hammer.hammering(clients=2):
        assert until(lambda: len({one.replica for one in hammer.with_status(200)}) == 2)
        done = server.json("plugins", "reload")["reload"]
        ended = time.monotonic()
        assert until(lambda: len({one.replica for one in hammer.answers if one.began > ended}) == 2)
    assert (done["state"], done["replaced"], done["replicas"]) == ("done", 2, 2)
    assert {one.status for one in hammer.answers} == {200}
    assert len({one.version for one in hammer.answers}) == 1
    assert {one.replica for one in hammer.answers if one.began > ended}.isdisjoint(before)
    assert set(server.replicas()).isdisjoint(before), "the previous ones took their rows away"


def test_metrics_add_up_over_the_workers(server) -> None:
    metrics_add_up(server)


MOOD = 'deployment="mood",track="stable"'
COUNTERS = ('calls_total{code="ok",', "rows_total{", "call_seconds_count{", "queue_seconds_count{")


def metrics_add_up(server: Server) -> None:
    names = [
        'hub_calls_total{code="ok",task="sentiment"}',
        *(f"hub_deployment_{counter}{MOOD}}}" for counter in COUNTERS),
    ]

    def counts() -> list[float]:
        found = metrics(server)
        return [found.get(name, 0) for name in names]

    time.sleep(METRICS_S + 0.1)
    before = counts()
    replicas = {server.ask("mood").headers["x-hub-replica"] for _ in range(100)}
    assert len(replicas) == 2, "both took part"
    expected = [count + 100 for count in before]
    assert until(lambda: counts() == expected), counts()
    gauges_add_up(server)


def gauges_add_up(server: Server) -> None:
    """Wait for the gauges, which each worker refreshes once a second."""
    newest = max(one["generation"] for one in server.replicas().values())
    expected = {'hub_slots{base="tiny"}': 2 * 32, f"hub_deployment_resident{{{MOOD}}}": 2}
    expected["hub_generation"] = newest

    def shown() -> dict[str, float]:
        return {name: value for name, value in metrics(server).items() if name in expected}

    assert until(lambda: shown() == expected), shown()

    def lora() -> str:
        (found,) = [name for name in metrics(server) if name.startswith("vllm:lora_requests_info")]
        return found

    assert until(lambda: "mood" in re.search(r'running_lora_adapters="([^"]*)"', lora())[1].split(","))
    assert 'max_lora="32"' in lora() and 'waiting_lora_adapters=""' in lora()


def test_a_removed_deployment_leaves_the_metrics_of_all_workers(server) -> None:
    server.hub("deploy", "mood@1", "--as", "gone", "--wait")
    assert server.ask("gone").status_code == 200
    assert until(lambda: any('deployment="gone"' in name for name in metrics(server)))
    server.hub("undeploy", "gone")
    time.sleep(METRICS_S + 0.1)  # no worker shows what it read before there was one
    assert until(lambda: not any('"gone"' in name for name in metrics(server)))


def metrics(server: Server) -> dict[str, float]:
    """Read the metrics; each worker collects them at most once a second."""
    lines = httpx.get(f"{server.url}/metrics", timeout=60).text.splitlines()
    return {
        name: float(value) for name, value in (re.split(r" (?=\S+$)", one) for one in lines if one[0] != "#")
    }


def test_status_shows_each_of_them(server) -> None:
    said = server.hub("status")
    for id, one in server.replicas().items():
        assert re.search(rf"{id[:12]} +\S+:{one['pid']} +{re.escape(server.url)}", said), said


class Shared:
    """Two servers with homes of their own; `store` moves and reads what they share."""

    def __init__(self, folder: Path, base_folder: Path, places: dict[str, str]) -> None:
        self.here, self.there = (Server(folder / name, places) for name in ("here", "there"))
        bases = [Bases(server.home).pull(str(base_folder), "tiny") for server in (self.here, self.there)]
        assert bases[0].fingerprint == bases[1].fingerprint, "each pulls it, and it is the same"
        self.store = Store(self.here.home, places["HUB_CATALOG__URL"], places["HUB_STORE__BLOBS"])
        self.versions = {}
        for seed in (1, 2, 3):
            adapter = plain_adapter(folder / f"adapter-{seed}", seed=seed)
            version = add_version(self.store, bases[0], "mood", adapter)
            self.versions[str(version.ref)] = version
        self.store.deploy("mood", Deploy(version="mood@1", by="tester"))

    def answers(self) -> list[tuple[str, str]]:
        """What each of the two says: its version, and the answer itself."""
        return [(reply.headers["x-hub-version"], reply.text) for reply in (self.here.ask(), self.there.ask())]

    def agree_on(self, ref: str) -> bool:
        """Whether both answer with a version, and alike."""
        here, there = self.answers()
        return here == there and here[0] == ref

    def holds(self, server: Server, ref: str) -> bool:
        """Whether a server has a copy of a version's files."""
        return (server.home / "adapters" / self.versions[ref].sha256).is_dir()


@pytest.fixture
def shared(tmp_path, base_folder, postgres_url, s3_url, moto_server) -> Iterator[Shared]:
    places = {"HUB_CATALOG__URL": postgres_url, "HUB_STORE__BLOBS": s3_url, **moto_server.environment}
    shared = Shared(tmp_path, base_folder, places)
    with shared.here.running(), shared.there.running():
        shared.here.wait()
        shared.there.wait()
        yield shared
    assert Replicas(shared.store.catalog).live() == [], "both stopped, and took their rows away"
    shared.store.close()


def test_two_servers_share_a_database_and_a_bucket(shared, postgres_server) -> None:
    here, there = shared.here, shared.there
    assert until(lambda: len(here.replicas()) == 2)
    assert shared.agree_on("mood@1")

    kept = {id for id, one in here.replicas().items() if one["url"] == there.url}
    assert here.json("plugins", "reload")["reload"]["state"] == "done"
    assert len(here.replicas()) == 2 and kept <= set(here.replicas()), "each server reloads its own"
    assert shared.agree_on("mood@1")

    assert not shared.holds(there, "mood@2")
    moved = here.json("deploy", "mood@2", "--wait", "all", "--timeout", "30")
    assert len(moved["serving"]) == 2
    assert shared.agree_on("mood@2")
    assert shared.holds(there, "mood@2"), "downloaded to a copy of its own"

    there.kill()
    told = here.hub("deploy", "mood@3", "--wait", "--timeout", "1", status=1)
    (lost,) = [one for one in here.replicas().values() if one["url"] != here.url]
    assert f"{lost['id'][:12]} on {lost['host']}, process {lost['pid']}" in told
    assert "it serves generation 2" in told
    nearly_gone(shared, lost["id"])  # or what follows would wait for it
    assert here.version() == "mood@3", "moved all the same, and said so"
    there.start()
    there.wait()
    assert shared.agree_on("mood@3"), "it comes back with what was deployed meanwhile"

    postgres_server.stop()
    try:
        began = time.monotonic()
        while time.monotonic() - began < 3:
            assert shared.agree_on("mood@3"), "what is resident answers"
            time.sleep(0.05)
        assert here.ask("stranger").status_code == 503, "whether there is one cannot be told"
        refused = here.admin("deployments/mood", "PUT", {"version": "mood@1"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert "catalog" in here.hub("status")
    finally:
        postgres_server.start()
    assert shared.agree_on("mood@3")
    assert until(lambda: there.admin("replicas").json()["catalog_generation"] == 3)
    back = there.json("rollback", "mood", "--wait", "--timeout", "40")
    assert (back["version"], len(back["serving"])) == ("mood@2", 2)
    assert shared.agree_on("mood@2")
    assert here.ask("stranger").status_code == 404
