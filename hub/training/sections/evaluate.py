"""`evaluate` and `deploy`: what is measured, and what has to hold before a version goes live."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model

__all__ = ["Deploy", "Evaluate"]


class Evaluate(Model):
    """What is measured of the stored version besides its metrics."""

    int8: bool = Field(
        True,
        description="Run held-out rows on the base in int8 too: where the answers are as good, the version "
        "may be served so.",
    )


class Deploy(Model):
    """The gate of `hub train --deploy`."""

    max_drop: float = Field(
        0.0, ge=0, description="How far the metric may lie below the live version's and still be deployed."
    )
