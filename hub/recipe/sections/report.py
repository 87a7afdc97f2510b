"""`report`: mistakes shown in the report, and experiment trackers."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hub.api import Model

__all__ = ["ReportSection"]


class ReportSection(Model):
    """The report and the trackers of a run."""

    examples: int = Field(
        20,
        ge=0,
        le=500,
        description="Number of mistakes on held-out rows shown in the report, with their texts; 0: none.",
    )
    trackers: tuple[str, ...] = Field(
        ("tensorboard",),
        description="Any of tensorboard, mlflow, trackio and the trackers of plugins; they receive settings, "
        "losses and metrics of the run, but no texts. mlflow and trackio need the extras of the same names.",
    )
    experiment: str = Field(
        "grafthub",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Name of the MLflow experiment and the trackio project.",
    )
    mlflow_uri: str = Field(
        "",
        description="MLflow server or database, without credentials; default: `MLFLOW_TRACKING_URI`, else "
        "an SQLite file in the state folder.",
    )

    @field_validator("mlflow_uri")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        if "@" in urlsplit(value).netloc:
            raise ValueError(
                "recipes are stored and shown, so it must not contain a user name or password; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI"
            )
        return value
