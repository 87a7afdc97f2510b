"""`report`: mistakes shown in the report, and experiment trackers."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hub.api import Model

__all__ = ["ReportSection"]


class ReportSection(Model):
    """The report of a run, and its trackers."""

    examples: int = Field(
        20,
        ge=0,
        le=500,
        description="How many of the held-out rows that were answered wrong the report shows, with their "
        "texts; 0: none.",
    )
    trackers: tuple[Literal["tensorboard", "mlflow", "trackio"], ...] = Field(
        ("tensorboard",),
        description="Which of tensorboard, mlflow and trackio are told settings, losses and metrics of the "
        "run, and no text of a row; the last two need the extras of their names.",
    )
    experiment: str = Field(
        "grafthub",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="MLflow's experiment and trackio's project that runs are put into.",
    )
    mlflow_uri: str = Field(
        "",
        description="MLflow's server or database, without a password; none: `MLFLOW_TRACKING_URI`, or else "
        "an SQLite file in the state folder.",
    )

    @field_validator("mlflow_uri")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        if "@" in urlsplit(value).netloc:
            raise ValueError(
                "recipes are stored and shown, so no user name or password in it; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI"
            )
        return value
