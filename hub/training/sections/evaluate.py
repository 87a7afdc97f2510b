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
    folds: int | None = Field(
        None,
        ge=2,
        le=50,
        description="Cross-validate: before the training proper, train this many times on parts of the "
        "training rows and measure on the rest of them.",
    )


class Deploy(Model):
    """The gate of `hub train --deploy`."""

    max_drop: float = Field(
        0.0, ge=0, description="How far the metric may lie below the live version's and still be deployed."
    )
