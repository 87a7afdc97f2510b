"""State folders with adapters in them, made without torch: for tests that use the fake engine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file, save_file

from hub.api import HeadKind
from hub.bases.base import Base
from hub.contract import PluginRef
from hub.store.manifest import BaseRef, Serving
from hub.store.records import Version
from hub.store.store import Store
from hub.testing.homes import plain_adapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["FakeHome", "add_version", "plain_adapter"]

Edit = Callable[[str, "Array"], "Array"]


class FakeHome:
    """A state folder with one base, to which adapters can be added."""

    def __init__(self, path: Path, base_folder: Path) -> None:
        self.path = path
        self.store = Store(path)
        self.base: Base = self.store.bases.pull(str(base_folder), base_folder.name)

    def add(
        self,
        name: str = "mood",
        seed: int = 0,
        *,
        task: str = "sentiment",
        kind: HeadKind = HeadKind.SEQUENCE,
        labels: Sequence[str] = ("negative", "positive"),
        settings: Mapping[str, Any] | None = None,
        plugin: PluginRef | None = None,
        edit: Edit | None = None,
    ) -> Version:
        """Store the next version of `name`: answers depend on `seed`; `edit` changes its tensors first."""
        with tempfile.TemporaryDirectory() as folder:
            adapter = plain_adapter(Path(folder), kind=kind, num_labels=len(labels), seed=seed)
            if edit:
                weights = adapter / "adapter_model.safetensors"
                save_file({key: edit(key, value) for key, value in load_file(weights).items()}, weights)
            made: dict[str, Any] = {"task": task, "head": kind, "labels": labels, "settings": settings}
            return add_version(self.store, self.base, name, adapter, plugin=plugin, **made)


def add_version(
    store: Store,
    base: Base,
    name: str,
    folder: Path,
    *,
    task: str = "sentiment",
    head: HeadKind = HeadKind.SEQUENCE,
    labels: Sequence[str] = ("negative", "positive"),
    settings: Mapping[str, Any] | None = None,
    plugin: PluginRef | None = None,
    max_length: int = 64,
) -> Version:
    """Store the adapter in `folder` as the next version of `name`."""
    serving = Serving(
        task=task,
        head=head,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=tuple(labels),
        settings=dict(settings or {}),
        max_length=min(max_length, base.max_length),
        contract=plugin.fingerprint if plugin else "",
    )
    return store.add(name, folder, serving, origin="imported", plugin=plugin)
