"""How the tokens of a generated text are chosen, which form it must have, and why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from hub.errors import BadRequest
from hub.generation.response_format import (
    ChoiceFormat,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    TextFormat,
)

__all__ = ["GREEDY", "FinishReason", "Sampling", "SamplingFields"]

MAX_BEAMS = 8

MAX_STOPS = 16
MAX_STOP_CHARS = 200
MAX_BIASED_TOKENS = 300
MAX_TOKEN = 2**31 - 1


class FinishReason(StrEnum):
    """Why a generated text ended."""

    STOP = "stop"  # an end token or a stop string
    LENGTH = "length"  # the limit of new tokens, or the context of the base


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of a generated text are chosen.

    `temperature` 0: always the most likely token; `top_k` to `seed` are not read then. A seed gives the same
    text again, whatever else the server runs. `repetition_penalty` None: that of the base. The text ends
    before the first of the strings in `stop`. `num_beams` above 1: the best of that many hypotheses, as beam
    search of transformers finds it; a hypothesis of n tokens has the score log p / n ** `length_penalty`.
    `response_format` None: any text.

    Raises:
        BadRequest: several beams together with a temperature or a response format.
    """

    temperature: float = 0.0
    top_k: int = 0  # 0: all tokens
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    stop: tuple[str, ...] = ()
    num_beams: int = 1
    length_penalty: float = 1.0
    response_format: JsonObjectFormat | JsonSchemaFormat | ChoiceFormat | None = None

    def __post_init__(self) -> None:
        if self.num_beams > 1 and self.temperature > 0:
            raise BadRequest(
                "Beam search is deterministic. Send `num_beams` above 1 without `temperature`, or a "
                "temperature with `num_beams` 1."
            )
        if self.num_beams > 1 and self.response_format is not None:
            raise BadRequest("Beam search follows no `response_format`. Send one of the two.")

    @property
    def is_default(self) -> bool:
        """Whether the text is that of default settings, whatever the settings that are not read."""
        read = (self.temperature, self.repetition_penalty, self.stop, self.num_beams, self.response_format)
        return read == (0.0, None, (), 1, None) and not self.logit_bias


GREEDY = Sampling()

_Stop = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_CHARS)]
_Token = Annotated[int, Field(ge=0, le=MAX_TOKEN)]
_Bias = Annotated[float, Field(ge=-100, le=100)]


class SamplingFields(BaseModel):
    """The sampling settings of a request: the base class of a generative task's request model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: float = Field(0.0, ge=0, le=5, description="0: always the most likely token.")
    top_k: int = Field(0, ge=0, le=1_000_000, description="Sample from so many tokens; 0: from all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Sample from the likeliest tokens of this total.")
    min_p: float = Field(
        0.0, ge=0, le=1, description="Leave out tokens less likely than this times the likeliest."
    )
    seed: int | None = Field(None, ge=0, lt=2**53, description="The same seed gives the same text.")
    repetition_penalty: float | None = Field(
        None, ge=0.01, le=10, description="Above 1: tokens of the prompt and the answer become less likely."
    )
    logit_bias: dict[_Token, _Bias] = Field(
        default_factory=dict,
        max_length=MAX_BIASED_TOKENS,
        description="Added to the logits, by token id.",
        json_schema_extra={"propertyNames": {"pattern": r"^(0|[1-9][0-9]{0,8})$"}},
    )
    stop: tuple[_Stop, ...] = Field(
        (), max_length=MAX_STOPS, description="The text ends before the first of these."
    )
    num_beams: int = Field(
        1, ge=1, le=MAX_BEAMS, description="Above 1: beam search with so many beams; for temperature 0."
    )
    length_penalty: float = Field(
        1.0, ge=-5, le=5, description="With beams: above 0 prefers longer texts, below 0 shorter ones."
    )
    response_format: ResponseFormat | None = Field(None, description="The form that the text must have.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _ = self.sampling
        return self

    @property
    def sampling(self) -> Sampling:
        """The settings as an engine reads them."""
        return Sampling(
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
            self.seed,
            self.repetition_penalty,
            self.logit_bias,
            self.stop,
            self.num_beams,
            self.length_penalty,
            None if isinstance(self.response_format, TextFormat) else self.response_format,
        )
