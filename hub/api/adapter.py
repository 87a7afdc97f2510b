"""What a task knows of the adapter that it works for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hub.api.images import ImageInput
from hub.errors import BadRecipe, first_problem

OptionsT = TypeVar("OptionsT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """The facts about an adapter that its task can read.

    `settings` is the task's own options as plain JSON values. `max_length` is the token limit of
    one row, special tokens included. On an `encoder_decoder` base, a row is the source alone. `levels` are
    those of an ORDINAL target, ascending. `image` is how its base takes images, None if that reads text.
    """

    name: str
    version: int
    labels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    max_length: int = 128
    encoder_decoder: bool = False
    levels: tuple[float, ...] = ()
    image: ImageInput | None = None


def read_options(model: type[OptionsT], adapter: AdapterInfo) -> OptionsT:
    """Return the adapter's settings as the task's options; settings unknown to `model` are ignored.

    Raises:
        BadRecipe: a setting does not fit; the message names the option.
    """
    try:
        return model(**{key: adapter.settings[key] for key in model.model_fields if key in adapter.settings})
    except ValidationError as error:
        option, reason = first_problem(error, "options")
        raise BadRecipe(f"Option {option!r} of adapter {adapter.name!r}: {reason}.") from None
