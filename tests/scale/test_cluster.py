"""Where a cluster comes from, and the errors when there is none."""

from __future__ import annotations

import socket
import sys

import pytest

from hub.config import RaySettings
from hub.errors import BadConfig, BadRequest, ClusterUnavailable, MissingExtra
from hub.scale.cluster import Cluster, cluster


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"grafthub\[ray\]"), cluster(RaySettings()):
        pass


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "http://head:1", "head:notaport", ":6379"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(BadConfig, match="HOST:PORT"), cluster(RaySettings(address=address)):
        pass


@pytest.mark.parametrize("by", ["setting", "variable"])
def test_a_cluster_that_does_not_answer_is_reported_at_once(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    if by == "variable":
        monkeypatch.setenv("RAY_ADDRESS", address)
    settings = RaySettings(address=address if by == "setting" else "")
    with pytest.raises(ClusterUnavailable, match=address), cluster(settings):
        pass


@pytest.mark.parametrize(
    ("shares", "workers", "expected"),
    [
        (((4, 0),), 2, (2, 0)),
        (((4, 0),), 3, (1, 0)),
        (((8, 0), (5, 0)), 3, (4, 0)),  # two on the first node, one on the second
        (((1, 0), (1, 0)), 2, (1, 0)),
        (((8, 2), (8, 0)), 2, (4, 1)),  # a worker with a GPU is where the GPUs are
    ],
)
def test_workers_get_equal_shares_that_fit_the_nodes(
    shares: tuple[tuple[int, int], ...], workers: int, expected: tuple[int, int]
) -> None:
    assert Cluster(shares, machines=1).share(workers) == expected


def test_more_workers_than_cpus_are_refused() -> None:
    with pytest.raises(BadRequest, match="--workers 3: the cluster has 2 CPUs"):
        Cluster(((2, 0),), machines=1).share(3)
