"""`tune`: the search of `hub tune`."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["Dimension", "Tune"]


class Dimension(Model):
    """The possible values of one key: a list or a numeric range."""

    values: tuple[Any, ...] = Field((), description="The values; a plain list is short for it.")
    low: float | None = Field(None, description="Smallest value of a range.")
    high: float | None = Field(None, description="Largest value of a range.")
    log: bool = Field(False, description="Sample on a logarithmic scale.")
    int: bool = Field(False, description="Whole numbers only.")
    step: float | None = Field(
        None, gt=0, description="Distance between the values of a range; default: continuous."
    )

    @model_validator(mode="before")
    @classmethod
    def _list_is_values(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.values:
            if self.low is not None or self.high is not None:
                raise ValueError("give a list of values or low and high, not both")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs a list of values, or low and high")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range needs low above 0 and no step")
        if self.int and any(bound % 1 for bound in (self.low, self.high, self.step or 1)):
            raise ValueError("with int, low, high and step must be whole numbers")
        return self


class Tune(Model):
    """The search of `hub tune`: trials, space, sampler and pruning."""

    trials: int = Field(20, gt=0, le=10_000, description="Number of trials; `--trials` overrides it.")
    space: dict[str, Dimension] = Field(
        {},
        description="Maps keys of `method` or `train` to their possible values. Default: learning rate, "
        "batch size and, for lora, rank.",
    )
    sampler: Literal["bayes", "grid"] = Field(
        "bayes",
        description="bayes samples near good values (TPE); grid tries every combination, in an order drawn "
        "with the seed.",
    )
    prune: Literal["median", "none"] = Field(
        "median",
        description="median stops a trial whose best metric so far is below the median of earlier trials "
        "after as many evaluations.",
    )
