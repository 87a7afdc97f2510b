"""Types of values in several sections: one value or a list, words that YAML parsed as numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from hub.recipe.label_names import normal_label

__all__ = ["Column", "Label", "Labels", "Word", "Words", "listed"]


def listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | dict | int | float) and not isinstance(value, bool) else value


def worded(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


Column = Annotated[str | int, Field(union_mode="left_to_right")]
Word = Annotated[str, BeforeValidator(worded)]
Words = Annotated[tuple[Word, ...], BeforeValidator(listed)]
Label = Annotated[Word, AfterValidator(normal_label)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(listed)]
