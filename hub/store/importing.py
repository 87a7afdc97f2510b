"""Stores adapters that were made elsewhere: PEFT folders, and folders that carry our manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from hub.contract import PluginRef
from hub.errors import BaseMismatch, NotFound
from hub.names import check_name
from hub.store.card.folder import read_manifest
from hub.store.content.weights import read_adapter
from hub.store.manifest import BaseRef, NumberScale, Serving
from hub.store.peft.fit import check_fit
from hub.store.peft.peft_folder import head_config, head_of, labels_of
from hub.store.peft.rank import check_head
from hub.store.records import Version
from hub.store.store import Check, Store

__all__ = ["import_peft", "import_version"]


def import_peft(  # noqa: PLR0913 - what a PEFT folder does not say, the caller has to
    store: Store,
    folder: Path,
    name: str,
    *,
    task: str,
    head: HeadKind | None,
    base: Base,
    labels: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    max_length: int = 128,
    merged: bool = False,
    check: Check | None = None,
    plugin: PluginRef | None = None,
    numbers: NumberScale | None = None,
) -> Version:
    """Store an adapter that plain PEFT saved; `merged`: to be served from a copy of the base of its own.

    `plugin` is the one that provides the task, `numbers` the scale of a head that gives a number.

    With `head` None, PEFT's task_type decides; without `labels`, id2label in the folder's config.json
    does, and without that they are `label_0`, `label_1`, ...

    Raises:
        BadAdapter: the folder is unsound, or `labels` are not as many as the head has rows.
        BaseMismatch: its layers are not those of `base`.
    """
    check_head(folder)
    files = read_adapter(folder)
    check_fit(files, base)
    kind = head or head_of(files)
    serving = Serving(
        task=check_name(task, "task"),
        head=kind,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=labels_of(files, kind, tuple(labels), head_config(folder).labels),
        settings=dict(settings or {}),
        max_length=min(max_length, base.max_length),
        merged=merged,
        encoder_decoder=base.kind is BaseKind.ENCODER_DECODER,
        contract=plugin.fingerprint if plugin else "",
        image=base.image,
        numbers=numbers,
    )
    return store.add(name, folder, serving, origin="imported", check=check, plugin=plugin)


def import_version(
    store: Store, folder: Path, name: str, *, merged: bool = False, check: Check | None = None
) -> Version:
    """Store a folder that carries our manifest, such as an exported or a shipped one.

    `merged`: to be served from a copy of the base of its own, whatever the manifest says.

    Raises:
        BaseMismatch: its base is not on this machine (says how to pull it), or is not the one stated.
    """
    manifest = read_manifest(folder)
    base = manifest.serving.base
    try:
        here = store.bases.by_fingerprint(base.fingerprint)
    except NotFound as error:
        raise BaseMismatch(
            f"{folder} was trained on the base {base.name!r}, which is not here. "
            f"Run: hub base pull {base.source}. {error}"
        ) from None
    check_head(folder)
    check_fit(read_adapter(folder), here)
    serving = manifest.serving.model_copy(update={"merged": merged or manifest.serving.merged})
    about = manifest.model_dump(exclude={"schema_version", "serving", "created", "origin", "data", "plugin"})
    return store.add(
        name,
        folder,
        serving,
        origin=manifest.origin,
        check=check,
        data=manifest.data,
        plugin=manifest.plugin,
        **about,
    )
