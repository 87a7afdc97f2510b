"""A hub under load is backed up, restored elsewhere, and promotes a version to the restored one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.e2e.replicas import PAUSE_S
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder
from tests.support.waiting import until

__all__ = ["tiny_base_folder"]

TEXT = {"text": "A warm, funny film."}


@contextmanager
def load(client: httpx.Client) -> Iterator[list[int]]:
    """Ask almost without a pause; yields the status of each answer."""
    seen: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url) as own:
            while not done.wait(PAUSE_S):
                seen.append(own.post("/v1/deployments/mood/predict", json=TEXT).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert until(lambda: bool(seen))
        yield seen
    finally:
        done.set()
        thread.join()


def answer(client: httpx.Client, name: str = "mood") -> tuple[object, str]:
    reply = client.post(f"/v1/deployments/{name}/predict", json=TEXT)
    assert reply.status_code == 200, reply.text
    return reply.json(), reply.headers["x-hub-sha256"]


def test_a_hub_is_restored_elsewhere_and_takes_versions(
    tmp_path: Path, tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_SERVE__ENGINE", "fake")
    staging, production = Hub(tmp_path / "staging" / "home"), Hub(tmp_path / "production" / "home")
    home = FakeHome(staging.home, tiny_base_folder)
    for seed in (1, 2):
        home.add("mood", seed=seed)
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    file = str(tmp_path / "hub.tar")
    with staging.serving() as client:
        before = answer(client)
        with load(client) as seen:
            made = staging.json_here("backup", file)
            staging.run_here("deploy", "mood@2", "--as", "mood")
        assert set(seen) == {200}
        assert (made["versions"], made["deployments"]) == (2, 1)
        assert Path(file).stat().st_mode & 0o777 == 0o600  # hashes of keys, and answers that are kept

        restored = production.json_here("restore", file)
        assert [base["name"] for base in restored["missing_bases"]] == [home.base.name]
        (production.home / "bases").mkdir(exist_ok=True)
        (production.home / "bases" / home.base.name).symlink_to(home.base.path, target_is_directory=True)
        with production.serving() as other:
            assert answer(other) == before  # as it was when the backup was made

            home.add("mood", seed=3)
            url = str(other.base_url)
            monkeypatch.setenv("HUB_KEY", (production.home / "admin.key").read_text().strip())
            sent = staging.json_here("push", "mood@3", url)
            assert sent["version"] == "mood@3"
            assert sent["sha256"] == home.store.get("mood@3").sha256
            production.run_here("deploy", "mood@3", "--as", "mood")
            assert answer(other)[1] == sent["sha256"]
            key = {"authorization": f"Bearer {os.environ['HUB_KEY']}"}
            listed = other.get("/admin/versions", headers=key).json()["versions"]
            assert [one["version"] for one in listed] == ["mood@1", "mood@2", "mood@3"]

            pulled = staging.json_here("pull", url, "mood@1", "--as", "old-mood")
            assert (pulled["version"], pulled["sent_as"]) == ("old-mood@1", "mood@1")
            refused = staging.json_of(1, "pull", url, "mood@9")
            assert refused["error"]["code"] == "not_found"
    assert "nothing to remove" in staging.run_here("gc", "--keep-last", "9", "--yes")
    assert staging.json_here("gc", "--keep-last", "1", "--dry-run")["removed"] == []
    removed = staging.json_here("gc", "mood", "--keep-last", "1", "--yes")
    assert removed["removed"] == []
    assert {kept["reason"] for kept in removed["kept"]} == {"previous in mood", "live in mood"}
