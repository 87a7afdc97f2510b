"""Models of requests, responses and options, and the texts in them."""

from __future__ import annotations

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
MAX_TEXT = 200_000  # characters in one text field; a request over it is refused before tokenizing


def _check_text(text: str, info: ValidationInfo) -> str:
    name = info.field_name or "text"
    if len(text) > MAX_TEXT:
        raise TooLarge(f"`{name}` has {len(text):,} characters; the limit is {MAX_TEXT:,}. Send it in parts.")
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise InvalidText(f"`{name}` is empty: send text with at least one visible character.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"`{name}` is not valid Unicode: half a surrogate pair at character {error.start}."
        ) from None
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
