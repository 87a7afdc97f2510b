"""One kind of call that Hugging Face's clients make, translated for the task of a deployment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hub.errors import BadRequest
from hub.serving.routing.routes import Route
from hub.store.records import Version

__all__ = ["HfPipeline", "Json", "listed"]

Json = Mapping[str, Any]


class HfPipeline(ABC):
    """One kind of call. `settings` maps its parameters to fields of the task's request."""

    settings: ClassVar[Json] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()
    """Parameters that change nothing here."""

    def __init__(self, route: Route, version: Version) -> None:
        self.route = route
        self.version = version

    @classmethod
    @abstractmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        """Return whether a task whose request and response have these fields is of this kind."""

    def requests(self, given: Any, parameters: Json) -> list[dict[str, Any]]:
        """Turn a call into requests of the task."""
        inputs = self.inputs(given)
        fields = self.fields(parameters)
        return [{**one, **fields} for one in inputs]

    @abstractmethod
    def inputs(self, given: Any) -> list[dict[str, Any]]:
        """Turn `inputs` into fields of requests."""

    def fields(self, parameters: Json) -> dict[str, Any]:
        """Turn `parameters` into fields of every request.

        Raises:
            BadRequest: the pipeline or the task has no such parameter.
        """
        found: dict[str, Any] = {}
        for name, value in parameters.items():
            if value is None or name in self.ignored:
                continue
            field = self.settings.get(name)
            if field is None or field not in self.route.task.request.model_fields:
                raise BadRequest(
                    f"The task {self.route.task.spec.name!r} of deployment {self.route.name!r} has no "
                    f"parameter {name[:80]!r}. Leave it out."
                )
            found[field] = value
        return found

    def places(self, given: Any, number: int, fields: Json) -> dict[str, str]:
        """Return where a call has the fields of its request `number`, for messages."""
        one, place = (given[number], f"inputs.{number}") if isinstance(given, list) else (given, "inputs")
        names = {field: name for name, field in self.settings.items()}
        found = {}
        for field, value in fields.items():
            if field in names:
                found[field] = f"parameters.{names[field]}"
            elif value is one:
                found[field] = place
            elif isinstance(one, dict) and one.get(field) is value:
                found[field] = f"{place}.{field}"
        return found

    @abstractmethod
    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        """Turn the answers of the task into one of the pipeline; `many`: `inputs` was a list."""


def listed(given: Any) -> Sequence[Any]:
    """Return `inputs` as a list."""
    found = given if isinstance(given, list) else [given]
    if not found:
        raise BadRequest("inputs is an empty list.")
    return found
