"""The section `ray`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class RaySettings(Model):
    """The cluster of commands that are run with `--on ray`."""

    address: str = Field(
        "",
        description="HOST:PORT of the head node, or auto for a cluster that runs on this machine; empty: "
        "RAY_ADDRESS, else one is started for the command, on loopback.",
    )
    checkpoints: str = Field(
        "",
        repr=False,
        description="An fsspec URL such as s3://bucket/runs for checkpoints of `hub train --on ray`; empty: "
        "the run's folder in the home, for one machine or a shared home.",
    )
