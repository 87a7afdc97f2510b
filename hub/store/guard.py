"""What a canary has to keep to; see `analysis` for how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from hub.api import Model
from hub.errors import BadRequest, first_problem

__all__ = ["CRITERIA", "Guard", "read_guard"]

CRITERIA = ("error_rate", "p99_ms", "agreement", "accuracy")


class Guard(Model):
    """Limits for a canary: rolled back once it is surely beyond one, promoted once it has kept to all.

    Nothing is decided on fewer than `requests` answers, or for `accuracy` on fewer than `labels`.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    error_rate: float | None = Field(None, ge=0, lt=1, description="Most of its requests that may fail.")
    p99_ms: float | None = Field(
        None, gt=0, description="Milliseconds that 99 of 100 of its answers may take at most."
    )
    agreement: float | None = Field(
        None, gt=0, le=1, description="Least share of its answers that are those of the stable version."
    )
    accuracy: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="How far its share of right answers, by feedback, may be below the stable version's.",
    )
    requests: int = Field(100, ge=1, description="Answers of the canary before anything is decided.")
    labels: int = Field(
        50, ge=10, description="Labelled answers of the canary, and of the stable version, for `accuracy`."
    )
    minutes: float = Field(10, ge=0, description="Least time before it is promoted.")
    promote: bool = Field(True, description="Off: it is only rolled back, never promoted.")

    @property
    def criteria(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name in CRITERIA if (limit := getattr(self, name)) is not None}


def read_guard(values: Mapping[str, Any]) -> Guard:
    """Return the guard of JSON values, such as a catalog or a request holds.

    Raises:
        BadRequest: a key or a value is wrong, or no limit is set; the message lists what there is.
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
