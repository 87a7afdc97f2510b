"""Finds out the task and the base of a PEFT folder where its caller does not name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.api import InputKind
from hub.bases.cache import Bases
from hub.errors import BadRequest
from hub.imports.folder import Described, Workspace, trained_elsewhere
from hub.registry.host import Registry
from hub.store.content.weights import read_config
from hub.store.manifest import MANIFEST_FILE
from hub.store.peft.peft_folder import kind_of

__all__ = ["describe_folder"]


def describe_folder(
    folder: Path, workspace: Workspace, task: str | None = None, base: str | None = None
) -> Described:
    """Describe a folder for `import_folder`; a manifest in it needs no description.

    The base is the one that adapter_config.json names. The task is the only installed one with the head of
    PEFT's task_type, for SEQ_2_SEQ_LM of those that serve encoder-decoders; of several, the one whose
    request is a prompt.

    Raises:
        BadRequest: no base or task fits, or several do.
        BadAdapter: there is no adapter_config.json, or its task_type is unknown.
    """
    if task is None and (folder / MANIFEST_FILE).is_file():
        return Described(base=base)
    config = read_config(folder)
    return Described(
        task or _task(workspace.registry, config, reads=_input_of(workspace.bases, config, base)),
        base or _base(workspace.bases, config),
    )


def _task(registry: Registry, config: Mapping[str, Any], *, reads: InputKind) -> str:
    kind = kind_of(config)
    fitting = [name for name, spec in registry.tasks().items() if spec.head is kind and spec.input is reads]
    found = [registry.task(name) for name in fitting]
    if config["task_type"] == "SEQ_2_SEQ_LM":
        found = [loaded for loaded in found if loaded.task.encoder_decoders]
    prompted = [loaded for loaded in found if "prompt" in loaded.request.model_fields]
    names = [loaded.spec.name for loaded in (prompted if len(prompted) == 1 else found)]
    return _only("task", f"the head of {config['task_type']}", names)


def _input_of(bases: Bases, config: Mapping[str, Any], name: str | None) -> InputKind:
    """Return what the base reads that is named, or that the config names; text if there is none here."""
    named = [
        one for one in bases.list() if (one.name == name if name else not trained_elsewhere(config, one))
    ]
    return InputKind.IMAGE if named and all(one.image for one in named) else InputKind.TEXT


def _base(bases: Bases, config: Mapping[str, Any]) -> str:
    stated = str(config.get("base_model_name_or_path") or "")
    fitting = [one.name for one in bases.list() if stated and not trained_elsewhere(config, one)]
    return _only("base", f"the name {stated!r} of adapter_config.json", fitting)


def _only(field: str, wanted: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    found = f"Several have {wanted}: {', '.join(sorted(names))}" if names else f"None has {wanted}"
    raise BadRequest(f"Name the {field} of the adapter in the field {field!r}. {found}.")
