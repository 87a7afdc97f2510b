"""The request, the response and the options of a recipe."""

from __future__ import annotations

import string
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from hub.api import Model, Text

__all__ = ["Language", "Pair", "TranslationOptions", "TranslationRequest", "TranslationResponse"]

Language = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[^\W\d_][\w ()'-]*$", min_length=2, max_length=40),
]
"""A code (`fr`, `pt-BR`) or a name (`French`)."""

Pair = tuple[Language, Language]
"""Source and target."""

_PLACES = {"source_language", "target_language", "text"}


class TranslationRequest(Model):
    """A text to translate."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "Two dogs play in the snow.", "source_language": "en", "target_language": "fr"}
            ]
        }
    )

    text: Text = Field(description="The text to translate.")
    source_language: Language | None = Field(
        None, description="Language of the text; required if the adapter has several."
    )
    target_language: Language | None = Field(
        None, description="Language to translate to; required if the adapter has several."
    )


class TranslationResponse(Model):
    """The translation and its language pair."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "translation": "Deux chiens jouent dans la neige.",
                    "source_language": "en",
                    "target_language": "fr",
                }
            ]
        }
    )

    translation: str = Field(description="The translated text.")
    source_language: str = Field(description="Language of the text.")
    target_language: str = Field(description="Language of the translation.")


class TranslationOptions(Model):
    """Options of a recipe for `translation`; without languages, every request must name both."""

    source_language: Language | None = Field(None, description="Language of the column `source`.")
    target_language: Language | None = Field(None, description="Language of the column `target`.")
    pairs: tuple[Pair, ...] = Field(
        (), description="All pairs of the adapter, such as [[en, fr], [en, de]]; requests choose one."
    )
    template: str | None = Field(
        None,
        description="The instruction, with {text} and optionally {source_language} and {target_language}.",
    )
    max_new_tokens: int = Field(128, ge=1, le=4096, description="Maximum length of a translation, in tokens.")

    @field_validator("template")
    @classmethod
    def _known_places(cls, template: str | None) -> str | None:
        if template is None:
            return None
        places = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        if "text" not in places or not places <= _PLACES:
            raise ValueError(
                "the template must contain {text}, and may contain {source_language} and {target_language}; "
                "double other braces"
            )
        return template

    @model_validator(mode="after")
    def _whole_pair(self) -> TranslationOptions:
        if (self.source_language is None) != (self.target_language is None):
            raise ValueError("set both source_language and target_language, or neither")
        if self.default_pair and self.pairs and self.default_pair not in self.pairs:
            raise ValueError("source_language and target_language must be one of `pairs`")
        return self

    @property
    def default_pair(self) -> Pair | None:
        """The pair of a request that names no language."""
        if self.source_language is None or self.target_language is None:
            return None
        return self.source_language, self.target_language
