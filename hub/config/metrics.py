"""The section `metrics`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class MetricSettings(Model):
    """Settings of /metrics."""

    deployments: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Deployments with series of their own in /metrics; the others are counted as `other`.",
    )
