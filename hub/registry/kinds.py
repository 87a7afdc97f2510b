"""The kinds of extensions that the host knows, and its checks of their specs and classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hub.api import (
    Augmenter,
    AugmenterSpec,
    BaseSource,
    BaseSourceSpec,
    Cleaner,
    CleanerSpec,
    Command,
    CommandSpec,
    EngineBuilder,
    EngineSpec,
    EventObserver,
    Explainer,
    ExplainerSpec,
    Extension,
    ExtensionSpec,
    MethodSpec,
    Metric,
    MetricSpec,
    ObserverSpec,
    Reader,
    ReaderSpec,
    Renderer,
    RendererSpec,
    RouteFamily,
    RouteSpec,
    Tracker,
    TrackerSpec,
    TrainingMethod,
)
from hub.errors import BadPlugin, InvalidName
from hub.names import NAME_PATTERN, check_name
from hub.registry.loaded import OBJECT, describe_failure, resolve

__all__ = [
    "AUGMENTERS",
    "BASE_SOURCES",
    "CLEANERS",
    "COMMANDS",
    "ENGINES",
    "EXPLAINERS",
    "KINDS",
    "METHODS",
    "METRICS",
    "OBSERVERS",
    "READERS",
    "RENDERERS",
    "RESERVED_COMMANDS",
    "ROUTES",
    "TRACKERS",
    "ExtensionT",
    "Kind",
    "SpecT",
]

SpecT = TypeVar("SpecT", bound=ExtensionSpec)
ExtensionT = TypeVar("ExtensionT", bound=Extension[Any])

_SUFFIX = re.compile(r"\.[a-z0-9][a-z0-9._-]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
RESERVED_COMMANDS = frozenset(
    [
        "adapters",
        "backup",
        "base",
        "chat",
        "console",
        "data",
        "deploy",
        "deployments",
        "doctor",
        "evaluate",
        "explain",
        "export",
        "feedback",
        "gc",
        "init",
        "jobs",
        "keys",
        "plugins",
        "predict",
        "promote",
        "pull",
        "push",
        "quickstart",
        "recipe",
        "report",
        "restore",
        "rollback",
        "serve",
        "status",
        "top",
        "train",
        "tune",
        "undeploy",
    ]
)
_TAKEN_SCHEMES = frozenset({"file"})


@dataclass(frozen=True, slots=True)
class Kind(Generic[SpecT, ExtensionT]):
    """A kind: the word for messages, its hook, the class of its specs and the base of its classes.

    `claims` are the keys of a spec beside its name that only one plugin can have. `problem` and `misfit` are
    checks of a spec, and of the class that it names; they return a reason, or "".
    """

    word: str
    hook: str
    spec: type[SpecT]
    base: type[Any]
    claims: Callable[[SpecT], Iterable[str]] = lambda spec: ()
    problem: Callable[[SpecT], str] = lambda spec: ""
    misfit: Callable[[SpecT, type[Any]], str] = lambda spec, factory: ""

    def keys(self, spec: SpecT) -> tuple[str, ...]:
        """Return everything that a spec claims, its name first."""
        return (spec.name, *self.claims(spec))

    def check(self, spec: object) -> SpecT:
        """Return `spec` if it is well-formed; imports nothing.

        Raises:
            BadPlugin: the message names the problem.
        """
        if not isinstance(spec, self.spec):
            raise BadPlugin(f"{self.hook} yields {spec!r:.80}, which is not a {self.spec.__name__}.")
        try:
            check_name(spec.name, self.word)
        except InvalidName as error:
            raise BadPlugin(str(error)) from None
        where = f"{self.word.capitalize()} {spec.name!r}"
        if not isinstance(spec.summary, str) or not spec.summary.strip():
            raise BadPlugin(f"{where} has no summary: say in one sentence what it does.")
        if not isinstance(spec.factory, str) or not OBJECT.fullmatch(spec.factory):
            raise BadPlugin(
                f"{where} has factory {spec.factory!r:.80}; write it as 'package.module:Name', a string."
            )
        if problem := self.problem(spec):
            raise BadPlugin(f"{where}: {problem}")
        return spec

    def build(self, spec: SpecT, settings: Any) -> ExtensionT:
        """Import and check the class that a spec names, and build it.

        Raises:
            BadPlugin: the import fails, or the class is not usable.
        """
        factory = resolve(spec.factory)
        where = f"{self.word.capitalize()} {spec.name!r}: {spec.factory}"
        if not inspect.isclass(factory) or not issubclass(factory, self.base):
            raise BadPlugin(f"{where} is not a subclass of hub.api.{self.base.__name__}.")
        if missing := sorted(getattr(factory, "__abstractmethods__", ())):
            raise BadPlugin(f"{where} does not define {', '.join(missing)}.")
        if misfit := self.misfit(spec, factory):
            raise BadPlugin(f"{where} {misfit}")
        make: Any = factory
        try:
            built: ExtensionT = make(settings)
            return built
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise BadPlugin(f"{where} cannot be built: {describe_failure(error)}") from error


def _is_words(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) and pattern.fullmatch(one) for one in value)


def _reader_problem(spec: ReaderSpec) -> str:
    if not _is_words(spec.suffixes, _SUFFIX):
        return f"suffixes are {spec.suffixes!r:.80}; write a tuple such as ('.mbox',), in lower case."
    if not _is_words(spec.schemes, _SCHEME):
        return f"schemes are {spec.schemes!r:.80}; write a tuple such as ('imap',), in lower case."
    if not _is_words(spec.folders, _SUFFIX):
        return f"folders are {spec.folders!r:.80}; write a tuple such as ('.txt',), in lower case."
    if taken := sorted(_TAKEN_SCHEMES & set(spec.schemes)):
        return f"the scheme {taken[0]!r} names places of files and cannot be taken."
    if ".gz" in spec.suffixes:
        return "files that end in .gz are unpacked before they are read."
    return ""


def _reader_misfit(spec: ReaderSpec, factory: type[Reader[Any]]) -> str:
    if factory.read is Reader.read and (spec.suffixes or not (spec.schemes or spec.folders)):
        return "does not define read, which reads a file."
    if spec.schemes and spec.fetches and factory.open_url is Reader.open_url:
        return "does not define open_url, which opens a source with one of its schemes."
    if spec.schemes and not spec.fetches and factory.read_url is Reader.read_url:
        return "does not define read_url, which reads a source with one of its schemes."
    if spec.folders and factory.read_folder is Reader.read_folder:
        return "does not define read_folder, which reads a folder of files with one of its endings."
    return ""


def _source_problem(spec: BaseSourceSpec) -> str:
    if not spec.schemes or not _is_words(spec.schemes, _SCHEME):
        return f"schemes are {spec.schemes!r:.80}; write a tuple such as ('models',), in lower case."
    return ""


def _engine_problem(spec: EngineSpec) -> str:
    if _is_words(spec.bases, re.compile(r"\S+")) and "*" not in spec.bases:
        return ""
    return f"bases are {spec.bases!r:.80}; write a tuple of patterns of sources, such as ('models:*',)."


def _command_problem(spec: CommandSpec) -> str:
    return f"hub {spec.name} is a command of the hub." if spec.name in RESERVED_COMMANDS else ""


def _renderer_problem(spec: RendererSpec) -> str:
    if _is_words(spec.tasks, re.compile(NAME_PATTERN)):
        return ""
    return f"tasks are {spec.tasks!r:.80}; write a tuple of names of tasks."


def _route_problem(spec: RouteSpec) -> str:
    known = ("infer", "deploy", "admin")
    return "" if spec.right in known else f"its right is {spec.right!r:.80}; use one of {', '.join(known)}."


def _method_problem(spec: MethodSpec) -> str:
    if not isinstance(spec.rate, float) or not 0 < spec.rate < 1:
        return f"its rate is {spec.rate!r:.80}; give the default learning rate, such as 1e-3."
    return "" if spec.name != "auto" else "auto is the choice among methods."


READERS: Kind[ReaderSpec, Reader[Any]] = Kind(
    "reader",
    "hub_readers",
    ReaderSpec,
    Reader,
    claims=lambda spec: (
        *spec.suffixes,
        *(f"{scheme}:" for scheme in spec.schemes),
        *(f"folder:{ending}" for ending in spec.folders),
    ),
    problem=_reader_problem,
    misfit=_reader_misfit,
)

CLEANERS: Kind[CleanerSpec, Cleaner[Any]] = Kind("cleaner", "hub_cleaners", CleanerSpec, Cleaner)
AUGMENTERS: Kind[AugmenterSpec, Augmenter[Any]] = Kind(
    "augmenter", "hub_augmenters", AugmenterSpec, Augmenter
)
TRACKERS: Kind[TrackerSpec, Tracker[Any]] = Kind("tracker", "hub_trackers", TrackerSpec, Tracker)
EXPLAINERS: Kind[ExplainerSpec, Explainer[Any]] = Kind(
    "explainer", "hub_explainers", ExplainerSpec, Explainer
)

OBSERVERS: Kind[ObserverSpec, EventObserver[Any]] = Kind(
    "observer", "hub_observers", ObserverSpec, EventObserver
)

ROUTES: Kind[RouteSpec, RouteFamily[Any]] = Kind(
    "route family", "hub_routes", RouteSpec, RouteFamily, problem=_route_problem
)
ENGINES: Kind[EngineSpec, EngineBuilder[Any]] = Kind(
    "engine",
    "hub_engines",
    EngineSpec,
    EngineBuilder,
    claims=lambda spec: (f"base:{pattern}" for pattern in spec.bases),
    problem=_engine_problem,
)
BASE_SOURCES: Kind[BaseSourceSpec, BaseSource[Any]] = Kind(
    "base source",
    "hub_base_sources",
    BaseSourceSpec,
    BaseSource,
    claims=lambda spec: (f"{scheme}:" for scheme in spec.schemes),
    problem=_source_problem,
)
COMMANDS: Kind[CommandSpec, Command[Any]] = Kind(
    "command", "hub_commands", CommandSpec, Command, problem=_command_problem
)
RENDERERS: Kind[RendererSpec, Renderer[Any]] = Kind(
    "renderer",
    "hub_renderers",
    RendererSpec,
    Renderer,
    claims=lambda spec: (f"task:{task}" for task in spec.tasks),
    problem=_renderer_problem,
)
METRICS: Kind[MetricSpec, Metric[Any]] = Kind("metric", "hub_metrics", MetricSpec, Metric)
METHODS: Kind[MethodSpec, TrainingMethod[Any]] = Kind(
    "training method", "hub_methods", MethodSpec, TrainingMethod, problem=_method_problem
)

KINDS: tuple[Kind[Any, Any], ...] = (
    READERS,
    CLEANERS,
    AUGMENTERS,
    METRICS,
    METHODS,
    TRACKERS,
    EXPLAINERS,
    OBSERVERS,
    ROUTES,
    ENGINES,
    BASE_SOURCES,
    COMMANDS,
    RENDERERS,
)
