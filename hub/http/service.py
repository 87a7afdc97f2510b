# ruff: noqa: TID253 - this is the BentoML service; light all the same, since the supervisor imports it too
"""The service that `hub serve`, `bentoml serve` and bentofile.yaml name: `hub.http.service:svc`."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from typing import cast

import bentoml

from hub.http.bento import HubService
from hub.serving import record

__all__ = ["svc"]


IMAGE = (
    bentoml.images.Image(lock_python_packages=False)  # locking asks the network at every build
    .python_packages("setuptools>=77")
    .build_include("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "hub", "plugins")
    .run("uv pip install --constraint src/constraints.txt ./src ./src/plugins/*")
)


@bentoml.service(
    name="grafthub",
    image=IMAGE,
    service_class=HubService,
    workers=1,
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": False}},
)
class GraftHub:
    """Task-specific NLP endpoints, each an adapter on one resident base model.

    Every deployment has its own endpoint; deploying a new version changes what answers there without a
    restart and without a failed request.
    """

    bento_service: HubService  # set by BentoML

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def load(self) -> None:
        """Load in the background, so that /livez answers meanwhile."""
        logging.getLogger("hub").setLevel(logging.INFO)  # BentoML leaves the root at WARNING
        runtime = self.bento_service.hub.runtime
        runtime.start(asyncio.get_running_loop())
        if address := self.bento_service.address:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            record.write(runtime.settings.home, record.ServerRecord(address, os.getppid(), started))

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def unload(self) -> None:
        runtime = self.bento_service.hub.runtime
        await asyncio.to_thread(runtime.close)
        record.erase(runtime.settings.home, os.getppid())

    async def __is_ready__(self) -> bool:
        return self.bento_service.hub.runtime.ready


svc = cast(HubService, GraftHub)
