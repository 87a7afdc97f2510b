"""The families of routes that are built in: protocols of other servers' clients."""

from __future__ import annotations

from abc import abstractmethod

from fastapi import APIRouter, FastAPI

from hub.api import NoOptions, RouteFamily, ServerAccess

__all__ = ["HuggingFace", "Ollama", "OpenAI", "OpenInference", "TextEmbeddings", "Vllm", "WireProtocol"]


class WireProtocol(RouteFamily[NoOptions]):
    """A family whose paths clients expect where they are, so that they cannot be below `/plugins`."""

    @abstractmethod
    def add_routes(self, app: FastAPI) -> None:
        """Add the routes."""

    def router(self, server: ServerAccess) -> APIRouter:
        """Return no routes below `/plugins`."""
        return APIRouter()


class OpenAI(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.openai import embeddings, files, fine_tuning, routes

        for module in (routes, embeddings, files, fine_tuning):
            module.add_routes(app)


class HuggingFace(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.huggingface import routes

        routes.add_routes(app)


class OpenInference(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.oip import routes

        routes.add_routes(app)


class Ollama(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.ollama import routes

        routes.add_routes(app)


class TextEmbeddings(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.tei import routes

        routes.add_routes(app)


class Vllm(WireProtocol):
    def add_routes(self, app: FastAPI) -> None:
        from hub.http.vllm import routes

        routes.add_routes(app)
