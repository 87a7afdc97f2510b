"""Route families: a FastAPI router of a plugin below `/plugins/<name>`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.requests import Request


class ServerAccess(Protocol):
    """What the routes of a plugin may ask of the server, on behalf of the caller of `request`."""

    async def predict(self, request: Request, deployment: str, body: Mapping[str, Any]) -> Any:
        """Ask a deployment as `POST /v1/deployments/NAME/predict` does, and return its answer as JSON values.

        Raises:
            HubError: as that route; raise it on, and the caller gets its code and status.
        """

    def deployments(self, request: Request) -> list[dict[str, Any]]:
        """Describe the deployments that the caller may ask."""


@dataclass(frozen=True, slots=True)
class RouteSpec(ExtensionSpec):
    """A route family; callers need the right to infer, deploy or administrate."""

    right: Literal["infer", "deploy", "admin"] = "infer"


class RouteFamily(Extension[SettingsT], ABC):
    """Adds routes to the server, behind its keys, limits and deadlines.

    They run on an event loop of their own, so that a blocking one delays none but those of its family. Bodies
    are passed whole; answers may be streams (`StreamingResponse`). The caller's key is not passed.
    """

    @abstractmethod
    def router(self, server: ServerAccess) -> APIRouter:
        """Return the routes; paths are those below `/plugins/<name>`."""
