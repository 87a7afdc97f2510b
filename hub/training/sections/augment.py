"""`augment`: changed copies of training rows."""

from __future__ import annotations

from pydantic import Field

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
    fields: tuple[str, ...] = Field(
        (), description="Text fields of the task that are changed; none: all but `data.group_by`."
    )
    seed: int | None = Field(None, ge=0, lt=2**31, description="Seed of the changes; none: `train.seed`.")
