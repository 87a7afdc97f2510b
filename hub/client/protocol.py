"""The client protocol: operations on a hub, over HTTP or directly on the catalog."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from hub.store.change import Deploy, DeploymentChange

__all__ = ["Client", "Json", "whoami"]

Json = dict[str, Any]


class Client(Protocol):
    """Operations on a hub; they return the JSON objects that docs/http.md describes."""

    url: str | None

    def deploy(self, deployment: str, change: Deploy) -> Json:
        """Put a version live under a name, or on trial there; `swap_ms` is null where no server runs."""

    def promote(self, deployment: str, change: DeploymentChange) -> Json:
        """Make the canary, or where there is none the shadow, the stable version."""

    def rollback(self, deployment: str, change: DeploymentChange) -> Json:
        """End a trial, or without one go back to the previous version."""

    def undeploy(self, deployment: str, change: DeploymentChange) -> Json:
        """Remove a deployment; its versions stay."""

    def deployments(self) -> list[Json]:
        """List the deployments as the catalog has them, by name."""

    def history(self, deployment: str) -> list[Json]:
        """Return every event of a deployment, oldest first."""

    def deployment(self, name: str) -> Json:
        """Return a deployment with `task`, `version`, and the JSON schemas `request` and `response`."""

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Answer requests; each becomes {"result": ...} or {"error": ...}, in order."""

    def stream(self, deployment: str, request: Mapping[str, Any]) -> Iterator[str | Json]:
        """Answer one request: yields the pieces of its text, then the data of the event `end`.

        Raises:
            NotReady: the stream was cut off.
        """

    def replicas(self) -> Json:
        """Describe the catalog's generation and the serving processes that are live.

        Raises:
            NotReady: the catalog cannot be asked.
        """

    def status(self) -> Json:
        """Describe the server, its engines, deployments and failures."""

    def jobs(self, limit: int) -> list[Json]:
        """List the newest training jobs."""

    def job(self, id: str) -> Json:
        """Return a training job."""

    def job_events(self, id: str) -> list[Json]:
        """Return the latest events of a training job, newest first."""

    def cancel_job(self, id: str) -> Json:
        """Cancel a training job."""


def whoami() -> str:
    """Return user@machine, for the history of a deployment."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:200]
    except (OSError, KeyError):  # a user id without a name
        return f"{os.getuid()}@{socket.gethostname()}"[:200]
