"""A change of a deployment: the one model that the CLI makes, HTTP carries and the store applies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from hub.api import Model
from hub.errors import BadRequest, first_problem
from hub.names import VERSION_PATTERN, VersionRef
from hub.store.guard import CRITERIA, Guard, read_guard

__all__ = ["Deploy", "DeploymentChange"]


def _text_of_ref(ref: object) -> object:
    return str(ref) if isinstance(ref, VersionRef) else ref


def _guard_schema() -> dict[str, Any]:
    """Return the schema of a guard: null, nothing, or at least one limit with its conditions."""
    guard = Guard.model_json_schema()
    limits = [{"required": [name], "properties": {name: {"type": "number"}}} for name in CRITERIA]
    return {"anyOf": [{"type": "null"}, {"type": "object", "maxProperties": 0}, {**guard, "anyOf": limits}]}


_STORABLE: dict[str, Any] = {"pattern": r"^[^\u0000]*$"}
_CANARY = {"required": ["canary"], "properties": {"canary": {"type": "number"}}}
_SHADOW = {"required": ["shadow"], "properties": {"shadow": {"const": True}}}
_GUARD = {"required": ["guard"], "properties": {"guard": {"type": "object", "minProperties": 1}}}
# `Deploy._check_trial` in JSON schema
_TRIAL_RULES: dict[str, Any] = {
    "not": {"anyOf": [{"allOf": [_CANARY, _SHADOW]}, {"allOf": [_GUARD, {"not": _CANARY}]}]}
}


class DeploymentChange(Model):
    """A promotion, a rollback or a removal: its author and its reason, for the deployment's history."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "v2 mistakes irony"}]})

    reason: str = Field("", max_length=1000, json_schema_extra=_STORABLE)
    by: str = Field("admin", min_length=1, max_length=200, json_schema_extra=_STORABLE)

    @field_validator("reason", "by")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if "\0" in text:
            raise BadRequest("A reason or an author has a NUL character, which cannot be stored.")
        return text

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Build a change from a user's values.

        Raises:
            BadRequest: names the first value that is wrong.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            key, problem = first_problem(error, "")
            raise BadRequest(f"{key}: {problem}.") from None


class Deploy(DeploymentChange):
    """A version that becomes the stable one, or with `canary` or `shadow` runs on trial beside it.

    Raises:
        BadRequest: canary and shadow at once, a guard without a canary, or a guard that is not valid.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"version": "movie-sentiment@2"},
                {"version": "movie-sentiment@3", "canary": 10, "guard": {"error_rate": 0.01}},
            ],
            **_TRIAL_RULES,
        }
    )

    version: Annotated[str, BeforeValidator(_text_of_ref)] = Field(
        description="name@N, or a name alone for its newest version.",
        json_schema_extra={"pattern": VERSION_PATTERN},
    )
    canary: float | None = Field(
        None, ge=0, le=100, description="Share of the requests in percent: try it, and leave the stable one."
    )
    shadow: bool = Field(False, description="Run it beside the stable one, compare, return nothing of it.")
    guard: Annotated[Mapping[str, Any] | None, WithJsonSchema(_guard_schema())] = Field(
        None, description="When the canary is promoted or taken away by itself; docs/operations.md."
    )

    @model_validator(mode="after")
    def _check_trial(self) -> Self:
        if self.canary is not None and self.shadow:
            raise BadRequest("A version is tried as a canary or as a shadow, not as both at once.")
        if self.guard and self.canary is None:
            raise BadRequest("A guard watches a canary: give the canary a share of the requests too.")
        if self.guard:
            read_guard(self.guard)
        return self

    @property
    def limits(self) -> dict[str, Any]:
        """The guard as the catalog keeps it: the values that were set, as JSON."""
        return read_guard(self.guard).model_dump(mode="json", exclude_unset=True) if self.guard else {}

    @property
    def trial(self) -> str | None:
        """ "canary", "shadow", or None: the version becomes the stable one."""
        return "canary" if self.canary is not None else "shadow" if self.shadow else None

    def pinned(self, ref: VersionRef) -> Self:
        """Return this change for the version `ref`, which its `version` named."""
        return self.model_copy(update={"version": str(ref)})
