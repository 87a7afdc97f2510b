"""The request, the response and the options of a recipe."""

from __future__ import annotations

import string
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from hub.api import Model, SamplingFields, Text

__all__ = [
    "AppliedTerm",
    "Language",
    "Pair",
    "TranslationOptions",
    "TranslationRequest",
    "TranslationResponse",
]

MAX_TERMS = 1000
MAX_TERM_CHARS = 200

Language = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[^\W\d_][\w ()'-]*$", min_length=2, max_length=40),
]
"""A code (`fr`, `pt-BR`) or a name (`French`)."""

Pair = tuple[Language, Language]
"""Source and target."""

_PLACES = {"source_language", "target_language", "source_code", "target_code", "text"}
_UNUSABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories: controls, line breaks, surrogates


def _as_mapping(terms: Any) -> Any:
    """Turn a list of terms into a mapping of each to itself."""
    if isinstance(terms, list | tuple) and all(isinstance(term, str) for term in terms):
        return {term: term for term in terms}
    return terms


def _check_terms(terms: dict[str, str]) -> dict[str, str]:
    if len(terms) > MAX_TERMS:
        raise ValueError(f"it has {len(terms):,} terms, and the limit is {MAX_TERMS:,}")
    found = {term.strip(): translation.strip() for term, translation in terms.items()}
    for number, text in enumerate(text for pair in found.items() for text in pair):
        if not any(character.isalnum() for character in text):
            raise ValueError(f"term {number // 2 + 1} has no letter and no digit")
        if len(text) > MAX_TERM_CHARS:
            raise ValueError(f"term {number // 2 + 1} has more than {MAX_TERM_CHARS} characters")
        if any(unicodedata.category(character) in _UNUSABLE for character in text):
            raise ValueError(f"term {number // 2 + 1} has a line break or another control character")
    return found


Glossary = Annotated[
    dict[str, str],
    BeforeValidator(_as_mapping),
    AfterValidator(_check_terms),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": MAX_TERMS},
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_TERMS},
            ]
        }
    ),
]
"""Terms and their translations; a list has terms that are kept as they are."""


class TranslationRequest(SamplingFields):
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
    split: bool | None = Field(
        None, description="Whether each sentence is translated alone; default: the adapter's."
    )
    glossary: Glossary = Field(
        default_factory=dict,
        description="Terms with a fixed translation, or a list of terms to keep; added to the adapter's.",
    )


class AppliedTerm(Model):
    """A term of the glossary in the text."""

    term: str = Field(description="The term in the text.")
    translation: str = Field(description="Its translation, as it stands in the answer.")
    method: Literal["model", "parts"] = Field(
        description="model: the model kept it; parts: the text around it was translated without it."
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
                    "glossary": [],
                }
            ]
        }
    )

    translation: str = Field(description="The translated text.")
    source_language: str = Field(description="Language of the text.")
    target_language: str = Field(description="Language of the translation.")
    glossary: tuple[AppliedTerm, ...] = Field((), description="The terms of the glossary in the text.")


class TranslationOptions(Model):
    """Options of a recipe for `translation`; without languages, every request must name both."""

    source_language: Language | None = Field(None, description="Language of the column `source`.")
    target_language: Language | None = Field(None, description="Language of the column `target`.")
    pairs: tuple[Pair, ...] = Field(
        (), description="All pairs of the adapter, such as [[en, fr], [en, de]]; requests choose one."
    )
    template: str | None = Field(
        None,
        description="The instruction, with {text} and optionally {source_language}, {target_language} "
        "(names), {source_code} and {target_code}. Training stores the default of the base.",
    )
    max_new_tokens: int = Field(128, ge=1, le=4096, description="Maximum length of a translation, in tokens.")
    split: bool = Field(True, description="Whether each sentence is translated alone.")
    glossary: Glossary = Field(
        default_factory=dict, description="Terms with a fixed translation, or a list of terms to keep."
    )

    @field_validator("template")
    @classmethod
    def _known_places(cls, template: str | None) -> str | None:
        if template is None:
            return None
        places = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        if "text" not in places or not places <= _PLACES:
            raise ValueError(
                "the template must contain {text}, and may contain {source_language}, {target_language}, "
                "{source_code} and {target_code}; double other braces"
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

    @property
    def all_pairs(self) -> tuple[Pair, ...]:
        """The pairs of the adapter; () if requests may name any."""
        return self.pairs or ((self.default_pair,) if self.default_pair else ())
