# ruff: noqa: TID253 - this is the BentoML service; BentoML's supervisor imports it, so it stays light
"""The service of `hub serve`, `bentoml serve` and bentofile.yaml: `hub.http.service:svc`."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import bentoml
import httpx

from hub.client import server_file
from hub.errors import HubError
from hub.http.bento import HubService
from hub.http.process.shutdown import drain_on_signal, end_with

if TYPE_CHECKING:
    from hub.http.hub import Hub
    from hub.http.process.worker_config import Handover
    from hub.serving.runtime import Runtime

__all__ = ["svc"]

log = logging.getLogger(__name__)

EXPORT_S = 5.0  # for the last traces
PROBE_S = 1.0
PROBE_EVERY_S = 0.2
MAX_UNANSWERED = 3  # probes in a row

IMAGE = (
    bentoml.images.Image(lock_python_packages=False)  # locking uses the network at every build
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

    Every deployment has its own endpoint; a new version is deployed without a restart or a failed request.
    """

    bento_service: HubService  # set by BentoML
    hub: Hub

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def load(self) -> None:
        """Start loading in the background, so that /livez answers at once."""
        from hub.http.metrics.values import remove_dead_gauges  # not at the top: imports prometheus_client

        logging.getLogger("hub").setLevel(logging.INFO)  # BentoML leaves the root at WARNING
        remove_dead_gauges()
        self.hub = self.bento_service.hub  # kept: another app of the service may be built while this one runs
        runtime = self.hub.runtime
        address = self.bento_service.address
        if handover := self.bento_service.handover:
            await self._take_over(handover, address or "")
        else:
            runtime.start(asyncio.get_running_loop(), address or "")
        self.hub.metrics.start(runtime)
        self.hub.training.runner.start()
        drain_on_signal(runtime.drain)
        if address:
            supervisor = self.bento_service.supervisor
            end_with(supervisor)
            certificate = runtime.settings.serve.tls_cert
            tls_cert = str(Path(certificate).resolve()) if certificate else ""
            server_file.keep(runtime.settings.home, address, supervisor, tls_cert)
            if runtime.settings.serve.replicas > 1 and not handover:
                verify = server_file.ServerRecord(address, supervisor, "", tls_cert).verify()
                await _wait_beside_others(runtime, address, verify)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def unload(self) -> None:
        from hub.http.metrics.values import remove_dead_gauges

        runtime = self.hub.runtime
        await asyncio.to_thread(self.hub.metrics.stop)
        await asyncio.to_thread(self.hub.training.runner.stop)
        await asyncio.to_thread(runtime.close)
        await asyncio.to_thread(runtime.registry.unload)
        remove_dead_gauges(os.getpid())
        if tracing := self.hub.tracing:
            with suppress(TimeoutError):  # no collector answers
                await asyncio.wait_for(asyncio.to_thread(tracing.close), EXPORT_S)
        if os.getppid() != self.bento_service.supervisor or not self.bento_service.channel:
            # our supervisor goes on with other workers, and erases it at the end
            server_file.erase(runtime.settings.home, self.bento_service.supervisor)

    async def __is_ready__(self) -> bool:
        runtime = self.hub.runtime
        required = runtime.settings.plugins.required
        faults = runtime.registry.required_faults(required)
        if required and not faults and runtime.ready:
            from hub.serving.plugins.required import suspended_faults

            faults = suspended_faults(runtime.registry, required, runtime.pipeline.hanging())
        if faults:
            from starlette.exceptions import HTTPException

            raise HTTPException(503, " ".join(faults))  # BentoML's own answer has no reason
        return runtime.ready

    async def _take_over(self, handover: Handover, address: str) -> None:
        """Load while another worker serves; if this one would serve less, report it and end the process."""
        from hub.http.process.takeover import check_plugins, check_served, first_victim

        runtime, channel = self.hub.runtime, self.bento_service.channel
        assert channel, "given with the handover"
        try:
            with first_victim():
                await asyncio.to_thread(check_plugins, runtime, handover)
                starter = runtime.start(asyncio.get_running_loop(), address)
                await asyncio.to_thread(starter.join)
                check_served(runtime, handover)
        except HubError as error:
            log.error("This process does not take over: %s", error)
            channel.report_failure(error)
            await asyncio.to_thread(runtime.close)
            await asyncio.to_thread(runtime.registry.unload)
            logging.shutdown()
            os._exit(1)


async def _wait_beside_others(runtime: Runtime, address: str, verify: ssl.SSLContext | bool = True) -> None:
    """Wait until the runtime is ready, as long as another worker answers at the same address.

    This worker accepts no connections before its startup ends, so no request waits for it to load.
    """
    unanswered = 0
    async with httpx.AsyncClient(timeout=PROBE_S, verify=verify, trust_env=False) as client:
        while not runtime.ready and unanswered < MAX_UNANSWERED:
            try:
                reply = await client.get(f"{address}/readyz", headers={"connection": "close"})
            except httpx.TimeoutException:  # no worker accepts, or the machine is busy
                unanswered += 1
                continue
            except httpx.HTTPError:
                return
            if not reply.is_success:
                return
            unanswered = 0
            await asyncio.sleep(PROBE_EVERY_S)


svc = cast(HubService, GraftHub)
