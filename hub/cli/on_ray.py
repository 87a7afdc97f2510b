"""The options `--on` and `--workers`: where the work of a command runs."""

from __future__ import annotations

from enum import StrEnum

import typer

from hub.errors import BadRequest

__all__ = ["ON", "WORKERS", "Where", "check_workers"]


class Where(StrEnum):
    """Where work runs."""

    LOCAL = "local"
    RAY = "ray"


ON = typer.Option("--on", help="Run in this process, or on a Ray cluster; see docs/ray.md.")
WORKERS = typer.Option("--workers", min=1, help="With --on ray: number of workers.")


def check_workers(on: Where, workers: int | None) -> None:
    """Raise BadRequest if workers are asked for where there are none."""
    if on is Where.LOCAL and workers is not None:
        raise BadRequest("--workers is for --on ray: a local command runs in one process.")
