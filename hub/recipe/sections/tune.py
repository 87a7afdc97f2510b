"""`tune`: what `hub tune` varies."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["Dimension", "Tune"]


class Dimension(Model):
    """The values that one key may have: a list, or a range of numbers."""

    values: tuple[Any, ...] = Field((), description="The values; a plain list is short for it.")
    low: float | None = Field(None, description="Least value of a range.")
    high: float | None = Field(None, description="Largest value of a range.")
    log: bool = Field(False, description="Look as often between 0.001 and 0.01 as between 0.01 and 0.1.")
    int: bool = Field(False, description="Whole numbers only.")
    step: float | None = Field(
        None, gt=0, description="Distance of the values of a range from each other; none: any are taken."
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
            raise ValueError("a logarithmic range starts above 0 and has no step")
        if self.int and any(bound % 1 for bound in (self.low, self.high, self.step or 1)):
            raise ValueError("the bounds and the step of whole numbers are whole numbers")
        return self


class Tune(Model):
    """What `hub tune` varies, and how it looks for the best."""

    trials: int = Field(20, gt=0, le=10_000, description="How many; `--trials` goes before it.")
    space: dict[str, Dimension] = Field(
        {},
        description="Key of `method` or `train`: the values it may have. None: the learning rate, the batch "
        "size and, of lora, the rank.",
    )
    sampler: Literal["bayes", "grid"] = Field(
        "bayes",
        description="bayes looks where good values were found (TPE); grid takes every combination, in an "
        "order drawn by the seed.",
    )
    prune: Literal["median", "none"] = Field(
        "median",
        description="median stops a trial whose best metric so far is below the median of the earlier ones "
        "after as many evaluations.",
    )
