"""The columns of a task's training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Example = Mapping[str, Any]
_PREFIXES = {"B": "B", "I": "I", "L": "L", "U": "U", "E": "L", "S": "U"}


class FieldKind(StrEnum):
    """The type of a training column; the loader converts and checks its values."""

    TEXT = "text"  # str, not empty
    LABEL = "label"  # str
    LABELS = "labels"  # tuple[str, ...]; a string is split at commas
    ANSWERS = "answers"  # tuple[{"text", "answer_start"}, ...]; empty: no answer
    TOKENS = "tokens"  # tuple[str, ...], a text in words; a string is split at white space
    TAGS = "tags"  # tuple[str, ...], one per token: "O", or a type after "B-", "I-", "L-" or "U-"
    ENTITIES = "entities"  # tuple[{"start", "end", "label"}, ...], offsets in characters; empty: none
    RELATIONS = "relations"  # tuple[{"head", "tail", "label"}, ...], indices of ENTITIES; empty: none
    NUMBER = "number"  # float
    MESSAGES = "messages"  # tuple[{"role", "content"}, ...], a chat; empty: none


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a task's training data; an absent optional column is None."""

    name: str
    kind: FieldKind
    summary: str
    required: bool = True


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag of a token into prefix and type: ("B", "PER"), ("", "PER") without one, ("O", "").

    The prefixes are those of BIO and BILOU; E- and S-, as BIOES has them, are given as L and U.
    """
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    known = _PREFIXES.get(prefix) if dash and kind else None
    return (known, kind) if known else ("", tag)
