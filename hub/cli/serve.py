"""`hub serve`: serves all deployments over HTTP."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer

from hub.cli.screen.output import say

__all__ = ["serve"]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; beyond loopback, set keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnx, openvino, torch or another.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    slots: Annotated[int | None, typer.Option(help="Adapters resident at once on each base.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one forward; 0: all cores.", min=0)] = None,
    replicas: Annotated[int | None, typer.Option(help="Serving processes on this port.", min=1)] = None,
) -> None:
    """Serve all deployments over HTTP until Ctrl-C; deployment changes need no restart."""
    flags: dict[str, Any] = {name: value for name, value in locals().items() if value is not None}

    from hub.config import load_settings
    from hub.http.process.launch import serve as run

    settings = load_settings(flags={"serve": flags})
    run(settings, _announce if settings.log.format == "text" else _log_address)


def _log_address(url: str) -> None:
    log = logging.getLogger(__name__)
    log.setLevel(logging.INFO)
    log.info("Serving at %s.", url)


def _announce(url: str) -> None:
    say(f"[bold green]Serving[/] at [bold]{url}[/]   console: {url}/console   API: {url}/docs   stop: Ctrl-C")
