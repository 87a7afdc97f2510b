"""The one package a plugin imports.

A plugin is a distribution with an entry point in the group `hub.tasks.v1` or `hub.plugins.v1`. The
module behind the entry point implements hooks: `hub_tasks` yields a frozen `TaskSpec` for each task,
`hub_readers` a `ReaderSpec` for each data format, and so on. A spec names its classes by string, so
that listing plugins imports none of them.

Examples (training rows) are plain mappings whose keys are the task's `fields`.
"""

from hub.api.adapter import AdapterInfo, read_options
from hub.api.columns import Example, Field, FieldKind, split_tag
from hub.api.hooks import ENTRY_POINT_GROUP, PLUGIN_GROUP, PluginHooks, TaskHooks, TaskSpec, hookimpl
from hub.api.images import ImageInput, InputKind, Resample
from hub.api.kinds.base_source import BaseSource, BaseSourceSpec, PullProgress
from hub.api.kinds.cleaner import (
    Augmenter,
    AugmenterSpec,
    AugmentOptions,
    Change,
    Cleaner,
    CleanerSpec,
    Span,
)
from hub.api.kinds.command import Command, CommandSpec
from hub.api.kinds.engine import BaseFiles, EngineBuilder, EngineRequest, EngineSpec
from hub.api.kinds.explainer import ExplainedScore, Explainer, ExplainerSpec, TokenScores
from hub.api.kinds.extension import Extension, ExtensionSpec
from hub.api.kinds.method import MethodRequest, MethodSpec, TrainingMethod
from hub.api.kinds.metric import NUMBER_METRICS, Metric, MetricKind, MetricSpec
from hub.api.kinds.observer import AdapterChange, AdapterEvent, EventObserver, ObserverSpec, RequestEvent
from hub.api.kinds.reader import (
    FetchRequest,
    FilteredRow,
    InvalidRow,
    RawRow,
    Reader,
    ReaderSpec,
    ReadOptions,
    SourceFile,
    Table,
    TableRow,
)
from hub.api.kinds.renderer import Renderer, RendererSpec
from hub.api.kinds.routes import RouteFamily, RouteSpec, ServerAccess
from hub.api.kinds.tracker import Begun, Ended, RunLog, RunStatus, Scalars, TrackedRun, Tracker, TrackerSpec
from hub.api.models import MAX_TEXT, Model, NoOptions, Text
from hub.api.rows import Features, HeadKind, Output, Row, TargetKind, Tokenizer, Tokens, truncate
from hub.api.task import Task
from hub.errors import (
    BadConfig,
    BadData,
    BadDimensions,
    BadRecipe,
    BadRequest,
    EngineFailed,
    HubError,
    InvalidText,
    NotFound,
    SourceUnavailable,
    TooLarge,
    UnsupportedAdapter,
)
from hub.generation.response_format import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat
from hub.generation.sampling import GREEDY, FinishReason, Sampling, SamplingFields
from hub.generation.streaming import AnswerStream, JoinedText
from hub.vectors import Embedding, Pooling

__all__ = [
    "ENTRY_POINT_GROUP",
    "GREEDY",
    "MAX_TEXT",
    "NUMBER_METRICS",
    "PLUGIN_GROUP",
    "AdapterChange",
    "AdapterEvent",
    "AdapterInfo",
    "AnswerStream",
    "AugmentOptions",
    "Augmenter",
    "AugmenterSpec",
    "BadConfig",
    "BadData",
    "BadDimensions",
    "BadRecipe",
    "BadRequest",
    "BaseFiles",
    "BaseSource",
    "BaseSourceSpec",
    "Begun",
    "Change",
    "ChoiceFormat",
    "Cleaner",
    "CleanerSpec",
    "Command",
    "CommandSpec",
    "Embedding",
    "Ended",
    "EngineBuilder",
    "EngineFailed",
    "EngineRequest",
    "EngineSpec",
    "EventObserver",
    "Example",
    "ExplainedScore",
    "Explainer",
    "ExplainerSpec",
    "Extension",
    "ExtensionSpec",
    "Features",
    "FetchRequest",
    "Field",
    "FieldKind",
    "FilteredRow",
    "FinishReason",
    "HeadKind",
    "HubError",
    "ImageInput",
    "InputKind",
    "InvalidRow",
    "InvalidText",
    "JoinedText",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "MethodRequest",
    "MethodSpec",
    "Metric",
    "MetricKind",
    "MetricSpec",
    "Model",
    "NoOptions",
    "NotFound",
    "ObserverSpec",
    "Output",
    "PluginHooks",
    "Pooling",
    "PullProgress",
    "RawRow",
    "ReadOptions",
    "Reader",
    "ReaderSpec",
    "Renderer",
    "RendererSpec",
    "RequestEvent",
    "Resample",
    "RouteFamily",
    "RouteSpec",
    "Row",
    "RunLog",
    "RunStatus",
    "Sampling",
    "SamplingFields",
    "Scalars",
    "ServerAccess",
    "SourceFile",
    "SourceUnavailable",
    "Span",
    "Table",
    "TableRow",
    "TargetKind",
    "Task",
    "TaskHooks",
    "TaskSpec",
    "Text",
    "TokenScores",
    "Tokenizer",
    "Tokens",
    "TooLarge",
    "TrackedRun",
    "Tracker",
    "TrackerSpec",
    "TrainingMethod",
    "UnsupportedAdapter",
    "hookimpl",
    "read_options",
    "split_tag",
    "truncate",
]
