"""The one package a task plugin imports.

A plugin is a distribution with an entry point in the group `hub.tasks.v1`. The module behind the
entry point implements `hub_tasks`, which yields a frozen `TaskSpec` for each task. A spec names the
request model, the response model and the task class by string, so that listing tasks imports none
of them.

Examples (training rows) are plain mappings whose keys are the task's `fields`.
"""

from hub.api.adapter import AdapterInfo, read_options
from hub.api.columns import Example, Field, FieldKind, split_tag
from hub.api.hooks import ENTRY_POINT_GROUP, TaskHooks, TaskSpec, hookimpl
from hub.api.models import MAX_TEXT, Model, NoOptions, Text
from hub.api.rows import Features, HeadKind, Output, Row, Tokenizer, Tokens, truncate
from hub.api.task import Task
from hub.errors import BadData, BadDimensions, BadRecipe, BadRequest, HubError, InvalidText, TooLarge
from hub.generation.response_format import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat
from hub.generation.sampling import GREEDY, FinishReason, Sampling, SamplingFields
from hub.generation.streaming import AnswerStream, JoinedText
from hub.vectors import Embedding, Pooling

__all__ = [
    "ENTRY_POINT_GROUP",
    "GREEDY",
    "MAX_TEXT",
    "AdapterInfo",
    "AnswerStream",
    "BadData",
    "BadDimensions",
    "BadRecipe",
    "BadRequest",
    "ChoiceFormat",
    "Embedding",
    "Example",
    "Features",
    "Field",
    "FieldKind",
    "FinishReason",
    "HeadKind",
    "HubError",
    "InvalidText",
    "JoinedText",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "Model",
    "NoOptions",
    "Output",
    "Pooling",
    "Row",
    "Sampling",
    "SamplingFields",
    "Task",
    "TaskHooks",
    "TaskSpec",
    "Text",
    "Tokenizer",
    "Tokens",
    "TooLarge",
    "hookimpl",
    "read_options",
    "split_tag",
    "truncate",
]
