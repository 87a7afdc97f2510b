"""What a program beside the server can ask of a hub, whether over HTTP or of the catalog alone."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

__all__ = ["Client", "Json", "TrialOptions", "whoami"]

Json = dict[str, Any]


class TrialOptions(TypedDict, total=False):
    """As what a version is tried: a canary with a share in percent and perhaps a guard, or a shadow."""

    canary: float | None
    shadow: bool
    guard: Mapping[str, Any]


class Client(Protocol):
    """What can be asked of a hub; answers are the JSON objects that docs/http.md describes."""

    url: str | None

    def deploy(self, deployment: str, ref: str, reason: str = "", **trial: Unpack[TrialOptions]) -> Json:
        """Put a version live under a name, or on trial there; `swap_ms` is null where no server runs."""

    def promote(self, deployment: str, reason: str = "") -> Json:
        """Make the canary, or where there is none the shadow, the stable version."""

    def rollback(self, deployment: str, reason: str = "") -> Json:
        """End a trial, or without one go back to the version that was live before."""

    def undeploy(self, deployment: str, reason: str = "") -> Json:
        """Take a deployment away; its versions stay."""

    def deployments(self) -> list[Json]:
        """List the deployments as the catalog has them, by name."""

    def history(self, deployment: str) -> list[Json]:
        """Return every move of a deployment, oldest first."""

    def deployment(self, name: str) -> Json:
        """Return a deployment with `task`, `version`, and the JSON schemas `request` and `response`."""

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Answer requests; each becomes {"result": ...} or {"error": ...}, in order."""

    def replicas(self) -> Json:
        """Describe the catalog's generation and the serving processes that are live.

        Raises:
            NotReady: the catalog cannot be asked.
        """

    def status(self) -> Json:
        """Describe the server, its engines, deployments and failures."""


def whoami() -> str:
    """Return user@machine, for the history of a deployment."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:200]
    except (OSError, KeyError):  # a user id without a name
        return f"{os.getuid()}@{socket.gethostname()}"[:200]
