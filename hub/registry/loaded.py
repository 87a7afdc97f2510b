"""Loads and checks the classes that a TaskSpec names."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, ValidationError

from hub.api import Example, Field, FieldKind, HeadKind, InputKind, MetricKind, TargetKind, Task, TaskSpec
from hub.errors import BadData, BadPlugin, HubError, InvalidName, first_problem
from hub.names import check_name
from hub.registry.stdout import printing_to

__all__ = [
    "OBJECT",
    "LoadedTask",
    "check_spec",
    "describe_failure",
    "extension_call",
    "load_task",
    "plugin_call",
    "resolve",
]

RESERVED_IN_REQUESTS = {
    "deployment": "it names the deployment.",
    "items": "it has the requests of a batch call.",
}
RESERVED_IN_RESPONSES = {"error": "it has the reason why a request failed."}

OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A loaded task with the models of its requests and responses."""

    spec: TaskSpec
    task: Task[Any, Any]
    request: type[BaseModel]
    response: type[BaseModel]

    @property
    def labelled(self) -> bool:
        """Whether the head scores labels, so that training rows need them."""
        return self.spec.head in (HeadKind.SEQUENCE, HeadKind.TOKEN) and not self.numeric

    @property
    def numeric(self) -> bool:
        """Whether the head gives a number: the target is NUMBER or ORDINAL."""
        return self.spec.target is not TargetKind.LABELS

    def number(self, example: Example) -> float:
        """Return the finite number that an example of a numeric task teaches.

        Raises:
            BadData: it has none.
            BadPlugin: the task fails.
        """
        with plugin_call(self.spec.name, "number()"):
            value = float(self.task.number(example))
        if not math.isfinite(value):
            raise BadData(f"{value} is not a finite number.")
        return value


def check_spec(spec: object) -> TaskSpec:
    """Return `spec` if it is a well-formed TaskSpec; imports nothing.

    Raises:
        BadPlugin: the message names the problem.
    """
    if not isinstance(spec, TaskSpec):
        raise BadPlugin(f"hub_tasks yields {spec!r:.80}, which is not a TaskSpec.")
    try:
        check_name(spec.name, "task")
    except InvalidName as error:
        raise BadPlugin(str(error)) from None
    if not isinstance(spec.summary, str) or not spec.summary.strip():
        raise BadPlugin(f"Task {spec.name!r} has no summary: say in one sentence what it does.")
    head: object = spec.head
    if not isinstance(head, HeadKind) or head is not head.declared:
        kinds = ", ".join(f"HeadKind.{kind.name}" for kind in HeadKind if kind is kind.declared)
        raise BadPlugin(f"Task {spec.name!r} has head {head!r:.80}; use one of {kinds}.")
    target: object = spec.target
    if not isinstance(target, TargetKind):
        kinds = ", ".join(f"TargetKind.{kind.name}" for kind in TargetKind)
        raise BadPlugin(f"Task {spec.name!r} has target {target!r:.80}; use one of {kinds}.")
    if target is not TargetKind.LABELS and head is not HeadKind.SEQUENCE:
        raise BadPlugin(f"Task {spec.name!r} has a {target} target, which needs HeadKind.SEQUENCE.")
    reads: object = spec.input
    if not isinstance(reads, InputKind):
        kinds = ", ".join(f"InputKind.{kind.name}" for kind in InputKind)
        raise BadPlugin(f"Task {spec.name!r} has input {reads!r:.80}; use one of {kinds}.")
    if reads is InputKind.IMAGE and head is not HeadKind.SEQUENCE:
        raise BadPlugin(f"Task {spec.name!r} reads images, which go with HeadKind.SEQUENCE only.")
    for key in ("request", "response", "factory"):
        value = getattr(spec, key)
        if not isinstance(value, str) or not OBJECT.fullmatch(value):
            raise BadPlugin(
                f"Task {spec.name!r} has {key} {value!r:.80}; write it as 'package.module:Name', a string."
            )
    return spec


def load_task(spec: TaskSpec, settings: BaseModel | None = None) -> LoadedTask:
    """Import and check the classes of a spec, and build the task; `settings` are those of its plugin.

    Raises:
        BadPlugin: an import fails, or a class is invalid.
    """
    try:
        request = _model(check_spec(spec).request)
        response = _model(spec.response)
        _refuse_reserved(spec.request, request, RESERVED_IN_REQUESTS)
        _refuse_reserved(spec.response, response, RESERVED_IN_RESPONSES)
        task = _task(spec.factory)
        if spec.target is not TargetKind.LABELS:
            _check_number(spec, task, response)
        if settings is not None:
            task.plugin_settings = settings
        with plugin_call(spec.name, "load()"):
            task.load()
        return LoadedTask(spec, task, request, response)
    except BadPlugin as error:
        raise BadPlugin(f"Task {spec.name!r}: {error}") from error.__cause__


def describe_failure(error: BaseException) -> str:
    """Return a one-sentence description of an exception."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


def resolve(where: str) -> object:
    """Import "package.module:Name".

    Raises:
        BadPlugin: anything is raised by it.
    """
    module, _, name = where.partition(":")
    try:
        with printing_to():
            return getattr(import_module(module), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit() when imported
        raise BadPlugin(f"{where} cannot be loaded: {describe_failure(error)}") from error


def _model(where: str) -> type[BaseModel]:
    model = resolve(where)
    if not inspect.isclass(model) or not issubclass(model, BaseModel):
        raise BadPlugin(f"{where} is not a pydantic model: subclass hub.api.Model.")
    try:
        examples = model.model_json_schema().get("examples")
    except Exception as error:
        raise BadPlugin(f"{where} has no JSON schema: {describe_failure(error)}") from error
    if not isinstance(examples, list) or not examples:
        raise BadPlugin(
            f"{where} has no example: set model_config = ConfigDict(json_schema_extra={{'examples': [...]}})."
        )
    for example in examples:
        try:
            model.model_validate(example)
        except ValidationError as error:
            raise BadPlugin(
                f"An example of {where} does not fit it: {': '.join(first_problem(error))}."
            ) from None
        except HubError as error:  # hub.api.Text raises one
            raise BadPlugin(f"An example of {where} does not fit it: {error}") from None
    return model


def _refuse_reserved(where: str, model: type[BaseModel], reserved: Mapping[str, str]) -> None:
    """Raise BadPlugin for fields that clash with those of the hub's routes and files."""
    if issubclass(model, RootModel):
        raise BadPlugin(f"{where} is a RootModel: its JSON must be an object with named fields.")
    if taken := sorted(reserved.keys() & _field_names(model)):
        raise BadPlugin(f"{where} has a field {taken[0]!r}, a reserved name: {reserved[taken[0]]} Rename it.")


def _field_names(model: type[BaseModel]) -> set[str]:
    names = {computed.alias or name for name, computed in model.model_computed_fields.items()}
    for name, field in model.model_fields.items():
        choices = field.validation_alias
        aliases = choices.choices if isinstance(choices, AliasChoices) else [choices]
        paths = [alias.path[0] if isinstance(alias, AliasPath) else alias for alias in aliases]
        names |= {str(alias) for alias in (name, field.alias, field.serialization_alias, *paths) if alias}
    return names


def _task(where: str) -> Task[Any, Any]:
    factory = resolve(where)
    if not inspect.isclass(factory) or not issubclass(factory, Task):
        raise BadPlugin(f"{where} is not a subclass of hub.api.Task.")
    if missing := sorted(factory.__abstractmethods__):
        raise BadPlugin(f"{where} does not define {', '.join(missing)}.")
    _check_attributes(where, factory)
    try:
        return factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BadPlugin(f"{where}() fails: {describe_failure(error)}") from error


def _check_attributes(where: str, factory: type[Task[Any, Any]]) -> None:
    for key in ("fields", "metric"):
        if not hasattr(factory, key):
            raise BadPlugin(f"{where} has no class attribute {key!r}.")
    fields: object = factory.fields
    if not isinstance(fields, tuple) or not fields or not all(_is_field(item) for item in fields):
        raise BadPlugin(f"{where}.fields is not a tuple of at least one hub.api.Field.")
    if len({item.name for item in fields}) != len(fields):
        raise BadPlugin(f"{where}.fields names a column twice.")
    metric: object = factory.metric
    if not isinstance(metric, str) or not metric:
        raise BadPlugin(f"{where}.metric is not the name of a metric.")
    goal: object = factory.metric_goal
    if goal not in ("max", "min"):
        raise BadPlugin(f"{where}.metric_goal is {goal!r:.80}; write 'max' or 'min'.")
    kinds: object = factory.metric_kinds
    if not isinstance(kinds, Mapping) or not all(isinstance(kind, MetricKind) for kind in kinds.values()):
        raise BadPlugin(f"{where}.metric_kinds is not a mapping of names to members of hub.api.MetricKind.")
    options: object = factory.options
    if not inspect.isclass(options) or not issubclass(options, BaseModel):
        raise BadPlugin(f"{where}.options is not a pydantic model class.")
    length: object = factory.max_length
    if not isinstance(length, int) or length < 1:
        raise BadPlugin(f"{where}.max_length is not a positive number of tokens.")
    version: object = factory.adapter_format
    if not isinstance(version, int) or version < 1:
        raise BadPlugin(f"{where}.adapter_format is not a positive integer.")


def _check_number(spec: TaskSpec, task: Task[Any, Any], response: type[BaseModel]) -> None:
    if task.number_field not in response.model_fields:
        raise BadPlugin(
            f"{spec.factory}.number_field is {task.number_field!r:.80}; a task with a {spec.target} target "
            f"names the field of {spec.response} that has the number."
        )
    if type(task).number is Task.number and not any(one.kind is FieldKind.NUMBER for one in task.fields):
        raise BadPlugin(f"{spec.factory} has no field of kind NUMBER, and defines no number().")


def _is_field(item: object) -> bool:
    return isinstance(item, Field) and isinstance(item.kind, FieldKind) and item.name.isidentifier()


def plugin_call(task: str, what: str) -> AbstractContextManager[None]:
    """Raise BadPlugin for any exception of a task's method except HubError; `what` describes the call."""
    return _call(f"Task {task!r}", what)


def extension_call(word: str, name: str, what: str) -> AbstractContextManager[None]:
    """As `plugin_call`, for a method of an extension; `word` is its kind."""
    return _call(f"{word.capitalize()} {name!r}", what)


@contextmanager
def _call(who: str, what: str) -> Iterator[None]:
    try:
        with printing_to():
            yield
    except HubError:
        raise
    except (Exception, SystemExit) as error:
        raise BadPlugin(f"{who} failed in {what}: {describe_failure(error)}") from error
