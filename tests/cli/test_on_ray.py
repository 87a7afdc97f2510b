"""`--on ray` and `--workers` of `hub train` and `hub tune`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from hub.bases.cache import Bases
from hub.cli.on_ray import Where, check_workers
from hub.cli.train import train
from hub.cli.tune import tune
from hub.config import load_settings
from hub.errors import BadRequest, MissingExtra
from tests.fixtures.ray_cluster import NICENESS, workers_of
from tests.support.preloaded import preloaded
from tests.support.waiting import until
from tests.training.search.conftest import ROWS

LIMIT_S = 240  # beside other work, a worker takes minutes to import torch


def test_a_local_command_has_no_workers() -> None:
    check_workers(Where.RAY, 2)
    check_workers(Where.LOCAL, None)
    with pytest.raises(BadRequest, match="--on ray"):
        check_workers(Where.LOCAL, 2)


@pytest.mark.parametrize("command", [train, tune])
def test_without_ray_nothing_is_begun(
    command: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.csv").write_text(ROWS)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: demo\ntask: sentiment\nbase: nowhere\ndata: a.csv\n")
    with pytest.raises(MissingExtra, match=r"grafthub\[ray\]"):
        command(recipe, on=Where.RAY)  # type: ignore[operator]


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """Return the addresses at which these processes listen."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found |= {
                place.laddr.ip.removeprefix("::ffff:")  # IPv4 on a socket of IPv6
                for place in process.net_connections("tcp")
                if place.status == psutil.CONN_LISTEN
            }
    return found


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S + 60)
def test_without_an_address_a_cluster_on_loopback_lives_as_long_as_the_command(tmp_path: Path) -> None:
    """Its worker is a new process that imports all it needs; scale/test_on_two_nodes.py forks them."""
    pytest.importorskip("ray", reason="NOT TESTED without Ray")
    from tests.support.tiny import tiny_encoder

    Bases(load_settings().home).pull(str(tiny_encoder(tmp_path / "encoder").path), "tiny")
    (tmp_path / "a.csv").write_text("text,label\ngood,positive\nbad,negative\n")
    (tmp_path / "recipe.yaml").write_text("name: demo\ntask: sentiment\nbase: tiny\ndata: a.csv\n")
    command = ("tune", str(tmp_path / "recipe.yaml"), "--on", "ray", "--workers", "1")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= NICENESS
    said = tmp_path / "said"
    with said.open("w") as out:
        running = preloaded().start("hub", *command, env=environment, stdout=out, stderr=out)
    try:
        top = psutil.Process(running.pid)
        worker = partial(workers_of, "TrialWorker", top)
        assert until(lambda: bool(worker() or running.poll()), LIMIT_S), said.read_text()
        processes = [top, *top.children(recursive=True)]
        addresses = listening(processes)
        status = running.wait(LIMIT_S)
    finally:
        running.kill()
    assert status == 1, said.read_text()
    assert "bad_data" in said.read_text()
    assert addresses == {"127.0.0.1"}
    assert until(lambda: not any(one.is_running() for one in processes))
