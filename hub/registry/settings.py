"""Fills the settings model that a plugin names, and shows it without secrets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from hub.api import NoOptions
from hub.errors import BadPlugin, HubError, first_problem
from hub.registry.loaded import OBJECT, describe_failure, resolve

__all__ = ["fill_settings", "shown_settings"]


def fill_settings(plugin: str, where: object, values: Mapping[str, Any]) -> BaseModel:
    """Import the model `where` of a plugin and validate `values`, its section; None: it has no model.

    Values from environment variables are texts: a list or a mapping in one is JSON.

    Raises:
        BadPlugin: the model cannot be imported, or a setting is missing, unknown or invalid; the message has
            its key and not its value.
    """
    if where is None:
        if values:
            raise BadPlugin(f"It has no settings: remove the section [plugins.{plugin}].")
        return NoOptions()
    if not isinstance(where, str) or not OBJECT.fullmatch(where):
        raise BadPlugin(f"hub_settings returns {where!r:.80}; write 'package.module:Name', a string.")
    model = resolve(where)
    if not inspect.isclass(model) or not issubclass(model, BaseModel):
        raise BadPlugin(f"{where} is not a pydantic model: subclass hub.api.Model.")
    if clash := sorted({name for name in model.model_fields if name != name.lower()}):
        raise BadPlugin(
            f"{where} has the field {clash[0]!r}: write names in lower case, as variables are read."
        )
    try:
        return model.model_validate({key: _parsed(model, key, value) for key, value in values.items()})
    except ValidationError as error:
        key, reason = first_problem(error, "")
        name = f"plugins.{plugin}{'.' if key else ''}{key}"
        raise BadPlugin(f"Setting {name!r} in hub.toml or a HUB_* variable: {reason}.") from None
    except HubError as error:  # hub.api.Text raises one
        raise BadPlugin(f"A setting of [plugins.{plugin}]: {error}") from None
    except Exception as error:  # a validator of the plugin
        raise BadPlugin(f"{where} fails: {describe_failure(error)}") from error


def shown_settings(settings: BaseModel) -> dict[str, Any]:
    """Return the settings as JSON values, for people: SecretStr and SecretBytes as asterisks."""
    return settings.model_dump(mode="json")


def _parsed(model: type[BaseModel], key: str, value: Any) -> Any:
    """Return a text that is JSON for a field that takes no text; any other value as it is."""
    field = model.model_fields.get(key)
    if field is None or not isinstance(value, str):
        return value
    adapter: TypeAdapter[Any] = TypeAdapter(Any if field.annotation is None else field.annotation)
    try:
        adapter.validate_python(value)
    except ValidationError:
        pass
    else:
        return value
    try:
        adapter.validate_json(value)
    except ValidationError:
        return value  # the model's own message is the better one
    return json.loads(value)
