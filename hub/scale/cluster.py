"""Joins a Ray cluster, or starts one on this machine; nothing else in the hub starts Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hub.config import RaySettings
from hub.errors import BadConfig, BadRequest, ClusterUnavailable, HubError, MissingExtra

__all__ = ["Cluster", "cluster", "resulting"]

log = logging.getLogger(__name__)

CONNECT_S = 10.0  # Ray itself tries an address where nothing answers for ten minutes

# Read when Ray is imported, and by the processes that it starts; a value that is set stays.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of its next release
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths relative to the working folder stay valid in workers
}
# Ray's own switch for platforms without clusters: a cluster of one machine binds to 127.0.0.1 alone.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_HERE = ("127.0.0.1:", "localhost:", "[::1]:")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes of a cluster; `shares` has the (CPUs, GPUs) of each."""

    shares: tuple[tuple[int, int], ...]
    machines: int

    def share(self, workers: int) -> tuple[int, int]:
        """Return the (CPUs, GPUs) of each of `workers` equal workers, at least one CPU.

        Raises:
            BadRequest: there are too few CPUs.
        """
        most = max(cpus for cpus, _ in self.shares)
        gpus = int(sum(gpus for _, gpus in self.shares) >= workers)
        for cpus in range(most, 0, -1):
            places = (min(own // cpus, own_gpus) if gpus else own // cpus for own, own_gpus in self.shares)
            if sum(places) >= workers:
                return cpus, gpus
        total = sum(cpus for cpus, _ in self.shares)
        raise BadRequest(
            f"--workers {workers}: the cluster has {total} CPUs, and a worker needs one. Use fewer."
        )


@contextmanager
def cluster(settings: RaySettings) -> Iterator[Cluster]:
    """Connect to the cluster of `ray.address` or RAY_ADDRESS within the block; else start one here.

    One that is started here listens on loopback only, has no dashboard, and ends with the block. A connection
    that this process has already is used, and left open.

    Raises:
        MissingExtra: Ray is not installed.
        ClusterUnavailable: no cluster answers at the address, or Ray could not be started.
        BadConfig: the address is not `auto` or HOST:PORT.
    """
    address = settings.address or os.environ.get("RAY_ADDRESS", "")
    here = not address or address.startswith(_HERE)
    for name, value in {**_ENVIRONMENT, **(_LOOPBACK if here else {})}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtra.of("--on ray", "ray") from None
    if ray.is_initialized():
        yield _described(ray.nodes())
        return
    if address not in ("", "auto"):
        _check_answers(address)
    _connect(ray, address)
    try:
        yield _described(ray.nodes())
    finally:
        ray.shutdown()


def resulting(get: Callable[[], Any]) -> Any:
    """Return what `get` fetches from workers; an error of the hub there is raised as it is here.

    Raises:
        ClusterUnavailable: a worker was lost, or failed with another error.
    """
    from ray.exceptions import RayError

    try:
        return get()
    except RayError as error:
        own = getattr(error, "cause", None)
        if isinstance(own, HubError):
            raise own from None
        log.debug("a worker failed", exc_info=True)
        kind = type(own or error).__name__
        raise ClusterUnavailable(
            f"A worker on the Ray cluster was lost or failed ({kind}). Its logs are in "
            "/tmp/ray/session_latest/logs on its machine; --resume goes on from where it stopped."
        ) from None


def _connect(ray: Any, address: str) -> None:
    # Workers print the progress and warnings of libraries; errors come with the results.
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    local = {} if address else {"include_dashboard": False}
    # Private in Ray 2.60: faults of workers are printed to stdout, where `--json` has its answer.
    ray._private.worker.print_to_stdstream = lambda data, **_: log.debug("%s", data.get("lines"))
    try:
        ray.init(address=address or "local", **quiet, **local)
    except (ConnectionError, RuntimeError, TimeoutError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        where = f"The Ray cluster at {address} cannot be used" if address else "Ray could not be started"
        raise ClusterUnavailable(
            f"{where}: {reason}. Check ray.address, RAY_ADDRESS and the logs in /tmp/ray/session_latest."
        ) from None


def _check_answers(address: str) -> None:
    """Raise ClusterUnavailable unless something listens at HOST:PORT."""
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or not port or place.scheme:
        raise BadConfig(
            f"ray.address is {address!r}. Write auto, or HOST:PORT of the head node, such as head:6379."
        )
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        raise ClusterUnavailable(
            f"No Ray cluster answers at {address} ({error.strerror or error}). Start one there with "
            f"`ray start --head --port={port}`; this machine is used without ray.address and RAY_ADDRESS."
        ) from None


def _described(nodes: list[dict[str, Any]]) -> Cluster:
    alive = [node for node in nodes if node["Alive"]]
    resources = [node["Resources"] for node in alive]
    return Cluster(
        shares=tuple((int(found.get("CPU", 0)), int(found.get("GPU", 0))) for found in resources),
        machines=len({node["NodeManagerHostname"] for node in alive}),
    )
