"""What a worker of a bulk job on Ray is given and returns; whole jobs are in test_on_two_nodes.py."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from hub.config import load_settings, restore_settings
from hub.errors import EngineFailed
from hub.scale import on_ray
from hub.scale.job import BulkRequest
from hub.scale.on_ray import PartWorker, RowTally
from tests.scale.conftest import write_parquet


def test_keys_of_servers_are_not_sent_to_workers(monkeypatch) -> None:
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", "an-admin-key-of-a-server")
    monkeypatch.setenv("HUB_SERVE__API_KEYS", '["a-key-of-a-client"]')
    monkeypatch.setenv("HUB_SERVE__ENGINE", "fake")
    sent = on_ray._for_workers(load_settings(), 3)
    assert "-key-of-a-" not in sent
    restored = restore_settings(sent)
    assert (restored.serve.engine, restored.serve.threads) == ("fake", 3)
    assert restored.home == load_settings().home


def test_the_tally_counts_a_part_that_is_answered_again_once() -> None:
    tally = RowTally()
    assert [tally.begin(3), tally.begin(3), tally.begin(4)] == [1, 2, 1]
    tally.report(3, 10, 100)
    tally.report(4, 1, 10)
    tally.report(3, 5, 50)
    assert tally.total() == (6, 60)


def test_a_part_is_given_up_after_three_deaths(job, tmp_path, monkeypatch) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    expected = job(tmp_path / "in")
    (tmp_path / "out" / "a.parquet").unlink()
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda now: now))
    tally = RowTally()
    actor = SimpleNamespace(begin=SimpleNamespace(remote=tally.begin))
    request = BulkRequest(deployments=("mood",), data=str(tmp_path / "in"), out=str(tmp_path / "out"))
    settings = on_ray._for_workers(load_settings(), 1)
    worker = PartWorker(settings, expected.job.model_dump_json(), request.model_dump_json(), actor)
    try:
        for _ in range(on_ray.TRIES - 1):
            tally.begin(0)  # by a worker that died then
        assert worker._answer(0)["rows"] == 5
        (tmp_path / "out" / "a.parquet").unlink()
        given_up = on_ray._error(worker._answer(0)["error"])
    finally:
        worker._runner._rows.close()
    assert isinstance(given_up, EngineFailed)
    assert "3 workers died one after another while they wrote a.parquet" in str(given_up)
    assert not (tmp_path / "out" / "a.parquet").exists()
