"""A runtime in this process, for a client without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from hub.client.protocol import Json
from hub.config import Settings
from hub.errors import HubError
from hub.registry.host import Registry
from hub.serving.describe import describe_end
from hub.serving.requests.parsing import parse, parse_call
from hub.serving.routing.routes import by_name
from hub.serving.runtime import Runtime

__all__ = ["LocalRuntime"]


class LocalRuntime:
    """A runtime and the event loop it answers on, in a thread of their own."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._limits = settings.limits
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-hub", daemon=True)
        self._thread.start()
        self._runtime = Runtime(settings, registry, preload=False)
        self._runtime.start(self._loop).join()

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        return asyncio.run_coroutine_threadsafe(self._predict(deployment, items), self._loop).result()

    def stream(self, deployment: str, request: Mapping[str, Any]) -> Iterator[str | Json]:
        pieces: SimpleQueue[str | Json | Exception] = SimpleQueue()
        asyncio.run_coroutine_threadsafe(self._stream(deployment, request, pieces), self._loop)
        while True:
            piece = pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if not isinstance(piece, str):
                return

    def close(self) -> None:
        self._runtime.close()
        self._runtime.registry.unload()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        with await self._runtime.router.admit(by_name(deployment)) as admission:
            body = to_json({"items": list(items)})
            requests, _ = parse_call(body, admission.route.task.request, self._limits.items)
            answers = await self._runtime.pipeline.run(admission, requests)
        return [_outcome(item, body) for item, body in zip(answers.items, answers.bodies, strict=True)]

    async def _stream(
        self, deployment: str, request: Mapping[str, Any], pieces: SimpleQueue[str | Json | Exception]
    ) -> None:
        try:
            with await self._runtime.router.admit(by_name(deployment)) as admission:
                parsed = parse(to_json(dict(request)), admission.route.task.request)
                async with aclosing(self._runtime.pipeline.stream(admission, parsed)) as answer:
                    async for piece in answer:
                        pieces.put(piece if isinstance(piece, str) else describe_end(piece))
        except Exception as error:  # raised in the thread that waits
            pieces.put(error)


def _outcome(item: BaseModel | HubError, body: bytes) -> Json:
    return dict(item.to_json()) if isinstance(item, HubError) else {"result": from_json(body)}
