"""The section `feedback`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.api import Model


class FeedbackSettings(Model):
    """Storage of answers for comparison with the ground truth; off by default."""

    keep: Literal["nothing", "answers", "texts"] = Field(
        "nothing", description="answers: store answers by request id; texts: store the requests as well."
    )
    days: float = Field(30, gt=0, description="Maximum age of stored answers and their feedback, in days.")
    rows: int = Field(
        100_000, gt=0, description="Maximum number of stored answers; the oldest are deleted first."
    )
    megabytes: int = Field(
        1_000, gt=0, description="Maximum size of stored answers and requests; the oldest are deleted first."
    )
