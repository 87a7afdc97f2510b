"""`report`: what is written of a run."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model

__all__ = ["Report"]


class Report(Model):
    """What is written of a run."""

    examples: int = Field(
        20,
        ge=0,
        le=500,
        description="How many of the held-out rows that were answered wrong the report shows, with their "
        "texts; 0: none.",
    )
