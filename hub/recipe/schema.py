"""The JSON Schema of recipes, including short forms, for editors and other programs."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from hub.recipe.recipe import Recipe
from hub.recipe.sections.values import listed, worded

__all__ = ["recipe_schema"]

_PROBES = {"string": "word", "array": ["word"]}


def recipe_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a recipe in YAML or JSON."""
    made = Recipe.model_json_schema(schema_generator=_Generator)
    about = (Recipe.__doc__ or "").splitlines()[0]
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "urn:grafthub:recipe",
        **made,
        "title": "GraftHub recipe",
        "description": f"{about} docs/recipes.md explains every key.",
    }


class _Generator(GenerateJsonSchema):
    """Includes the short forms that validators in mode "before" accept."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        made = super().function_before_schema(schema)
        function: Any = schema["function"]["function"]
        if function is listed:
            return {"anyOf": [made["items"], made]} if "items" in made else made
        if function is worded:
            return {"type": ["string", "number"]}
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made, model = super().model_schema(schema), schema["cls"]
        for name, validator in model.__pydantic_decorators__.model_validators.items():
            if validator.info.mode == "before":
                made = _with_short_form(made, getattr(model, name))
        return made


def _with_short_form(made: JsonSchemaValue, function: Any) -> JsonSchemaValue:
    """Also accept the short form that the section's validator converts to one of its keys."""
    short = {kind: value for kind, probe in _PROBES.items() if isinstance(value := function(probe), dict)}
    keys = {key for value in short.values() for key in value}
    if len(keys) != 1:
        return made
    inner = made["properties"][keys.pop()]
    bare = {key: value for key, value in inner.items() if key not in ("title", "description", "default")}
    return {"anyOf": [{"type": list(short), "allOf": [bare]}, made]}
