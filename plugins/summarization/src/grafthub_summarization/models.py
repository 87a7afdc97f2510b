"""The request, the response and the options of a recipe."""

from __future__ import annotations

import string

from pydantic import ConfigDict, Field, field_validator

from hub.api import Model, SamplingFields, Text

__all__ = ["SummarizationOptions", "SummarizationRequest", "SummarizationResponse"]

MAX_NEW_TOKENS = 4096


class SummarizationRequest(SamplingFields):
    """A document to summarize."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"document": "The council met on Monday. It voted for a new bridge."}]
        }
    )

    document: Text = Field(description="The document to summarize.")
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=MAX_NEW_TOKENS,
        description="Maximum length of the summary of a part; default: the adapter's.",
    )


class SummarizationResponse(Model):
    """The summary."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"summary": "The council wants a new bridge.", "parts": 1}]}
    )

    summary: str = Field(description="The summaries of the parts, one per line.")
    parts: int = Field(description="Number of parts of the document.")


class SummarizationOptions(Model):
    """Options of a recipe for `summarization`."""

    instruction: str = Field(
        "Summarize the text:\n{document}", description="The instruction, with the placeholder {document}."
    )
    max_new_tokens: int = Field(
        128, ge=1, le=MAX_NEW_TOKENS, description="Maximum length of the summary of a part, in tokens."
    )
    max_parts: int = Field(16, ge=1, le=256, description="Maximum number of parts of a document.")

    @field_validator("instruction")
    @classmethod
    def _known_places(cls, instruction: str) -> str:
        places = {name for _, name, _, _ in string.Formatter().parse(instruction) if name is not None}
        if places != {"document"}:
            raise ValueError("the instruction must contain {document} and no other placeholder")
        return instruction
