"""Stores a PEFT folder as a version, converted where needed: to plain LoRA, to current names of modules."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from hub.errors import BadAdapter, BadRequest, first_problem

if TYPE_CHECKING:
    from hub.api import HeadKind
    from hub.bases.base import Base
    from hub.bases.cache import Bases
    from hub.config import Settings
    from hub.registry.host import LoadedTask, Registry
    from hub.store.content.weights import AdapterFiles
    from hub.store.manifest import Serving
    from hub.store.peft.peft_folder import HeadConfig
    from hub.store.records import Version
    from hub.store.store import Store

__all__ = ["Described", "Imported", "Workspace", "import_folder", "trained_elsewhere"]

_MULTI_LABEL = "multi_label"


class Workspace(Protocol):
    """Where an adapter is stored, and what it is checked with."""

    @property
    def settings(self) -> Settings: ...

    @property
    def store(self) -> Store: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def bases(self) -> Bases: ...


@dataclass(frozen=True, slots=True)
class Described:
    """The caller's description of a folder; a manifest replaces all of it but `merged`."""

    task: str | None = None
    base: str | None = None
    labels: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """A stored version.

    `converted_from`: the initialisation that was converted, or ""; `trained_on`: the base that the config
    names, if it is another one, or ""; `renamed`: its modules had the names of transformers 4.
    """

    version: Version
    converted_from: str = ""
    trained_on: str = ""
    renamed: bool = False


def import_folder(folder: Path, name: str, described: Described, workspace: Workspace) -> Imported:
    """Store a folder by its manifest; without one, or with a task given, as the caller describes it.

    Raises:
        BadRequest: the description lacks task or base, or repeats what the manifest holds.
        BadAdapter, UnsafeWeights, BaseMismatch: the folder cannot be served.
    """
    from hub.store.manifest import MANIFEST_FILE

    if (folder / MANIFEST_FILE).is_file() and not described.task:
        return Imported(_import_by_manifest(folder, name, described, workspace))
    if not described.task or not described.base:
        raise BadRequest(
            f"{folder} has no {MANIFEST_FILE}: give --task (see `hub plugins list`) and --base (see "
            "`hub base list`)."
        )
    return _import_plain(folder, name, described, workspace)


def _import_by_manifest(folder: Path, name: str, described: Described, workspace: Workspace) -> Version:
    from hub.store.card.folder import read_manifest
    from hub.store.importing import import_version
    from hub.store.manifest import MANIFEST_FILE
    from hub.store.peft.rank import check_rank

    if described.base or described.labels or described.options or described.max_length:
        raise BadRequest(
            f"{folder} has a {MANIFEST_FILE}, which holds base, labels, options and length. Omit them, or "
            "give --task and --base to import it as a plain PEFT folder."
        )
    merged = described.merged
    if not (merged or read_manifest(folder).serving.merged):
        check_rank(folder, workspace.settings.serve.max_rank)
    return import_version(workspace.store, folder, name, merged=merged, check=_task_check(workspace, folder))


def _import_plain(folder: Path, name: str, described: Described, workspace: Workspace) -> Imported:
    from hub.api import AdapterInfo, HeadKind, InputKind
    from hub.bases.base import BaseKind
    from hub.imports.numbers import number_scale, refuse_regression
    from hub.store.content.weights import read_config
    from hub.store.importing import import_peft
    from hub.store.peft.peft_folder import head_config, kind_of
    from hub.store.peft.rank import check_rank
    from hub.training.plan import NUMBER_OUTPUT, settled

    assert described.task and described.base
    registry, merged = workspace.registry, described.merged
    loaded, on = registry.task(described.task), workspace.bases.get(described.base)
    if (loaded.spec.input is InputKind.IMAGE) is not (on.image is not None):
        raise BadRequest(
            f"Task {described.task!r} reads {loaded.spec.input}s, and {on.name!r} is a base of kind "
            f"{on.kind}. Give another --base or --task."
        )
    config, stated = read_config(folder), head_config(folder)
    if config.get("task_type"):
        _check_kind(kind_of(config), described.task, registry, str(config["task_type"]))
    if stated.problem_type == "regression" and loaded.spec.head is HeadKind.SEQUENCE and not loaded.numeric:
        refuse_regression(loaded, registry)
    numbers = number_scale(folder, loaded, described.labels)
    head = None if config.get("task_type") else loaded.spec.head
    trained_on = trained_elsewhere(config, on)
    limit = sys.maxsize if merged else workspace.settings.serve.max_rank
    max_length = described.max_length or loaded.task.max_length
    info = AdapterInfo(
        name,
        0,
        settings=_options_of(loaded, described.options, stated),
        max_length=max_length,
        encoder_decoder=on.kind is BaseKind.ENCODER_DECODER,
        image=on.image,
        levels=numbers.levels if numbers else (),
    )
    check_rank(folder, limit)
    with _prepared(folder, on, head, merged) as ready:
        check_rank(ready.folder, limit)  # conversion doubles the rank
        version = import_peft(
            workspace.store,
            ready.folder,
            name,
            task=described.task,
            head=head,
            base=on,
            labels=(NUMBER_OUTPUT,) if numbers else described.labels,
            numbers=numbers,
            settings=settled(loaded, on, info),
            max_length=max_length,
            merged=merged,
            check=_task_check(workspace, folder),
            plugin=registry.plugin_of(described.task),
        )
    return Imported(version, ready.converted_from, trained_on, ready.renamed)


def _options_of(loaded: LoadedTask, given: Mapping[str, Any], head: HeadConfig) -> dict[str, Any]:
    """Validate options against the task's options; a value that is not JSON is text.

    A head that is multi-label in config.json stays multi-label unless an option overrides it.

    Raises:
        BadRequest: the task has no such option, or the value is invalid.
        BadAdapter: config.json describes a head that the task cannot serve.
    """
    from pydantic import ValidationError

    values = dict(given)
    model = loaded.task.options
    _add_problem_type(values, head.problem_type, loaded)
    try:
        options: dict[str, Any] = model.model_validate(values).model_dump(mode="json")
    except ValidationError as error:
        key, reason = first_problem(error, "")
        known = ", ".join(model.model_fields) or "none"
        raise BadRequest(f"--option {key}: {reason}. The task's options: {known}.") from None
    return options


def trained_elsewhere(config: Mapping[str, Any], base: Base) -> str:
    """Return the base that a PEFT config names, or "" if its name or source matches `base`.

    Bases of one architecture share layer names and shapes, so these do not reveal a wrong base.
    """
    from hub.bases.sources import upstream

    stated = str(config.get("base_model_name_or_path") or "")
    known = {_last_part(name) for name in (base.name, base.source, upstream(base.source) or "")}
    return "" if not stated or _last_part(stated) in known else stated


@dataclass(frozen=True, slots=True)
class _Ready:
    """The folder to import, and what it was converted from; see `Imported`."""

    folder: Path
    converted_from: str = ""
    renamed: bool = False


@contextmanager
def _prepared(folder: Path, on: Base, head: HeadKind | None, merged: bool) -> Iterator[_Ready]:
    """Yield the folder to import, or a converted copy: plain LoRA, with current names of modules."""
    from hub.imports.vit_names import with_current_names
    from hub.store.content.weights import read_adapter, write_adapter
    from hub.store.peft.peft_folder import MODEL_CONFIG_FILE, head_of, head_rows
    from hub.store.peft.plain_lora import changed_base, to_plain_lora
    from hub.store.peft.rank import check_head

    check_head(folder)
    found = read_adapter(folder)
    files = with_current_names(found, on)
    renamed = files is not found
    init = "" if merged else changed_base(files.config)
    if init:
        from hub.engine.peft.model import initial_tensors

        kind, rows = head or head_of(files), head_rows(files)
        files = to_plain_lora(
            files, initial_tensors(on, files.config, files.tensors, kind=kind, num_labels=rows)
        )
    if files is found:
        yield _Ready(folder)
        return
    with TemporaryDirectory(prefix="hub-convert-") as aside:
        write_adapter(Path(aside), files)
        if (folder / MODEL_CONFIG_FILE).is_file():
            shutil.copyfile(folder / MODEL_CONFIG_FILE, Path(aside) / MODEL_CONFIG_FILE)
        yield _Ready(Path(aside), init, renamed)


def _task_check(workspace: Workspace, folder: Path) -> Any:
    """Return the check that the adapter in `folder` can be served for its task with PEFT's outputs."""
    from hub.bases.tokenizer_files import TOKENIZER_FILES
    from hub.serving.residency.servable import servable_on

    servable = servable_on(workspace.bases, workspace.registry)

    def check(files: AdapterFiles, serving: Serving) -> None:
        _check_kind(serving.head, serving.task, workspace.registry)
        servable(files, serving)
        if any((folder / name).is_file() for name in TOKENIZER_FILES):
            from hub.engine.peft.tokenizer import check_tokenizer

            check_tokenizer(folder, workspace.bases.by_fingerprint(serving.base.fingerprint), serving.head)

    return check


def _check_kind(kind: HeadKind, task: str, registry: Registry, task_type: str = "") -> None:
    """Raise BadAdapter if a task needs another head; `task_type` is that of the PEFT config."""
    expected = registry.spec(task).head
    if kind.declared is expected:
        return
    fitting = [name for name, spec in registry.tasks().items() if spec.head is kind.declared]
    reason = (
        f"The task {task!r} needs a {expected} head, and this adapter has a {kind} head. Tasks with that "
        f"head: {', '.join(fitting) or 'none'}."
    )
    if task_type:
        reason += (
            f" If it was trained with another, correct its task_type, {task_type}, in adapter_config.json."
        )
    raise BadAdapter(reason)


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].lower()


def _add_problem_type(values: dict[str, Any], problem_type: str, loaded: LoadedTask) -> None:
    """Set the multi-label option as config.json's problem_type requires."""
    from hub.api import HeadKind

    if loaded.spec.head is not HeadKind.SEQUENCE or loaded.numeric:
        return
    if problem_type != "multi_label_classification" or _MULTI_LABEL in values:
        return
    if _MULTI_LABEL not in loaded.task.options.model_fields:
        raise BadAdapter(
            "config.json has problem_type multi_label_classification, and the task "
            f"{loaded.spec.name!r} gives each text one label. Use --task classification."
        )
    values[_MULTI_LABEL] = True
