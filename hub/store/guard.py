"""Guards: the limits of a canary; `hub.serving.canary.analysis` decides by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from hub.api import Model
from hub.errors import BadRequest, first_problem

__all__ = ["CRITERIA", "Guard", "read_guard"]

CRITERIA = ("error_rate", "p99_ms", "agreement", "accuracy")


class Guard(Model):
    """Limits of a canary: rolled back once one is exceeded with certainty, promoted once it is within all.

    No decision is made on fewer than `requests` answers, or for `accuracy` on fewer than `labels`.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    error_rate: float | None = Field(None, ge=0, lt=1, description="Maximum share of its requests that fail.")
    p99_ms: float | None = Field(
        None, gt=0, description="Maximum 99th percentile of its latency, in milliseconds."
    )
    agreement: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Minimum share of its answers that match those of the stable version. While set, every "
        "request of the canary also runs on the stable version.",
    )
    accuracy: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Maximum drop of its accuracy, by feedback, below that of the stable version.",
    )
    requests: int = Field(100, ge=1, description="Minimum answers of the canary before a decision.")
    labels: int = Field(
        50, ge=10, description="Minimum labelled answers of canary and stable version each, for `accuracy`."
    )
    minutes: float = Field(10, ge=0, description="Minimum time before promotion.")
    promote: bool = Field(True, description="Off: it is rolled back, but never promoted.")

    @property
    def criteria(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name in CRITERIA if (limit := getattr(self, name)) is not None}


def read_guard(values: Mapping[str, Any]) -> Guard:
    """Validate a guard given as JSON values.

    Raises:
        BadRequest: a key or a value is wrong, or no limit is set.
    """
    try:
        guard = Guard.model_validate(values)
    except ValidationError as error:
        key, reason = first_problem(error, "")
        if key not in Guard.model_fields:
            raise BadRequest(
                f"A guard has no {key[:80]!r}. It has: {', '.join(Guard.model_fields)}."
            ) from None
        raise BadRequest(f"guard {key}: {reason}. {_about(key)}".rstrip()) from None
    if not guard.criteria:
        raise BadRequest(f"A guard needs a limit to watch: set one of {', '.join(CRITERIA)}.")
    return guard


def _about(key: str) -> str:
    field = Guard.model_fields.get(key)
    return field.description or "" if field else ""
