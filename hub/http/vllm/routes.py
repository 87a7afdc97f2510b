"""`/v1/load_lora_adapter` and `/v1/unload_lora_adapter`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import HubError
from hub.http.hub import hub_of
from hub.http.openai.answers import openai_error
from hub.http.openai.routes import ERRORS
from hub.http.routes.route import AdminRoute
from hub.http.routes.table import TableRow, add_table
from hub.imports.load import AdapterFolder, load_adapter
from hub.names import NAME_PATTERN, check_name
from hub.store.change import DeploymentChange

__all__ = ["add_routes"]

MAX_PATH = 4096

LoraName = Annotated[str, Field(description="The deployment.", json_schema_extra={"pattern": NAME_PATTERN})]


class LoadLora(BaseModel):
    """An adapter in a folder of the server, to import and put live."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora_name: LoraName
    lora_path: str = Field(
        min_length=1,
        max_length=MAX_PATH,
        description="A PEFT folder within `serve.adapter_roots`; a relative one is within one of them.",
        json_schema_extra={"pattern": r"^[^\u0000]+$"},
    )
    load_inplace: bool = Field(False, description="Replace what the deployment serves.")
    expected_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of adapter_model.safetensors; other content is refused."
    )
    task: str | None = Field(
        None, description="Default: as manifest.json, or the only one with the head of the adapter."
    )
    base: str | None = Field(None, description="Default: as manifest.json or adapter_config.json.")


class UnloadLora(BaseModel):
    """A deployment to remove."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora_name: LoraName
    lora_int_id: int | None = Field(None, description="Accepted and not read.")


class LoraRoute(AdminRoute):
    """Answers errors as clients of vLLM read them."""

    @staticmethod
    def failed(error: HubError) -> Response:
        return openai_error(error)


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    text: dict[int | str, Any] = {
        200: {"description": "Done", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    load = "Import an adapter and deploy it, as vLLM's clients ask for it"
    rows: list[TableRow] = [
        ("POST", "/v1/load_lora_adapter", _load, None, load),
        ("POST", "/v1/unload_lora_adapter", _unload, None, "Remove a deployment; its versions stay"),
    ]
    add_table(app, rows, tag="vllm", responses={**ERRORS, **text}, route=LoraRoute, response_class=Response)


async def _load(request: Request, body: LoadLora) -> Response:
    adapter = AdapterFolder(body.lora_path, body.expected_sha256, body.task, body.base)
    version = await asyncio.to_thread(
        load_adapter, hub_of(request).runtime, body.lora_name, adapter, replace=body.load_inplace
    )
    return _done(
        f"Success: LoRA adapter '{body.lora_name}' added successfully.",
        {
            "x-hub-deployment": body.lora_name,
            "x-hub-version": str(version.ref),
            "x-hub-sha256": version.sha256,
        },
    )


async def _unload(request: Request, body: UnloadLora) -> Response:
    runtime, name = hub_of(request).runtime, check_name(body.lora_name, "deployment")
    await asyncio.to_thread(runtime.undeploy, name, DeploymentChange(reason="unload_lora_adapter"))
    return _done(f"Success: LoRA adapter '{name}' removed successfully.", {"x-hub-deployment": name})


def _done(text: str, headers: dict[str, str]) -> Response:
    return Response(text, headers=headers, media_type="text/plain")
