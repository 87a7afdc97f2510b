"""Models of requests, responses and options, and the texts in them."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, WithJsonSchema

from hub.errors import InvalidText, TooLarge

_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # Unicode categories: spaces, controls, joiners
# A character of no _INVISIBLE category, for JSON Schema, whose regular expressions know no categories.
VISIBLE = (
    r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
MAX_TEXT = 200_000  # characters in one text field; a request over it is refused before tokenizing


def text_error(text: str, field: str) -> InvalidText | TooLarge | None:
    """Return what is wrong with a text of a field: the message begins with the field in backquotes."""
    error: InvalidText | TooLarge | None = None
    if len(text) > MAX_TEXT:
        error = TooLarge(
            f"`{field}` has {len(text):,} characters; the limit is {MAX_TEXT:,}. Send it in parts."
        )
    elif all(unicodedata.category(character) in _INVISIBLE for character in text):
        error = InvalidText(f"`{field}` is empty: send text with at least one visible character.")
    elif half := _SURROGATE.search(text):
        error = InvalidText(
            f"`{field}` is not valid Unicode: half a surrogate pair at character {half.start()}."
        )
    if error:
        error.field = field
    return error


def _check_text(text: str, info: ValidationInfo) -> str:
    if error := text_error(text, info.field_name or "text"):
        raise error
    return text


Text = Annotated[
    str,
    AfterValidator(_check_text),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": VISIBLE}),
]
"""A text field of a request: InvalidText if nothing in it is visible or it is not valid Unicode,
TooLarge past MAX_TEXT. These are raised as they are, not wrapped in a ValidationError."""


class Model(BaseModel):
    """Base of request, response and options models: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoOptions(Model):
    """The options model of a task without options."""
