# ruff: noqa: TID253 - builds and trains a model, so it needs torch; product code never imports it
"""A real round trip of a task: train on a tiny base, export, import, serve. It takes some seconds.

class TestTraining(RoundTripConformance):
    spec = next(hub_tasks())
    examples = ({"text": "It burns!", "label": "urgent"}, {"text": "Thanks.", "label": "can-wait"})
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from hub.api import EngineRequest, Example, FieldKind, HeadKind, TaskSpec
from hub.bases.base import Base
from hub.config import load_settings
from hub.engine.peft.load import weights_of
from hub.engine.protocol import EngineRow
from hub.engine.tokenizer import load_tokenizer
from hub.export.export import export_version
from hub.export.formats import Format
from hub.imports.folder import Described, import_folder
from hub.recipe.recipe import load_recipe
from hub.registry import active
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.registry.opening import engine_for, open_engine, use_plugins
from hub.store.content.weights import read_adapter
from hub.store.records import Version
from hub.store.store import Store
from hub.testing.afresh import task_afresh
from hub.testing.fixtures import hub_home, own_home
from hub.testing.given import GivenTask
from hub.testing.homes import made_up_base, model_type_of
from hub.training.train import train

__all__ = ["RoundTripConformance", "hub_home"]  # a module that imported the fixture still can

COPIES = 6  # of each example, told apart by a number at the end of its longest text
TOLERANCE = 1e-3  # between the forward of training and that of the engine, both in float32


class RoundTripConformance(GivenTask):
    """Subclass it as `Test…`. Only a plugin that also provides `base` or an engine must be installed."""

    base: ClassVar[str] = ""
    """The base to train on, such as "ngrams:4096" of a source of the plugin; "": a tiny one."""

    method: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """The section `method` of the recipe."""

    train: ClassVar[Mapping[str, Any]] = {"max_steps": 4, "batch_size": 4, "dtype": "fp32"}
    """The section `train` of the recipe."""

    @pytest.fixture
    def hub_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Give the test a state folder of its own."""
        return own_home(tmp_path, monkeypatch)

    @contextmanager
    def _registry(self) -> Iterator[Registry]:
        """Load the installed plugins; with the task, if its plugin is not one of them."""
        registry = Registry.of(load_settings())
        known = self.spec.name in registry.tasks()
        before = list(active._registries)
        use_plugins()  # so that `base` may be of a plugin's source
        try:
            yield active.activate(registry if known else registry.beside(self.spec))
        finally:
            active._registries[:] = before

    def test_the_answers_of_training_are_those_of_a_server_also_after_export_and_import(
        self, hub_home: Path, tmp_path: Path
    ) -> None:
        with self._registry() as registry:
            self._go_round(registry, hub_home, tmp_path)

    def _go_round(self, registry: Registry, hub_home: Path, tmp_path: Path) -> None:
        settings, store = load_settings(), Store(hub_home)
        base = store.bases.pull(self.base or str(_base(tmp_path / "base", self.spec)), "small")
        recipe = load_recipe(self._recipe(tmp_path, registry.task(self.spec.name)))
        work = tmp_path / "work"
        result = train(recipe, registry=registry, store=store, bases=store.bases, work=work)
        measured = result.measured
        exported = export_version(store, str(result.version.ref), tmp_path / "exported", Format.PEFT)
        workspace: Any = SimpleNamespace(settings=settings, store=store, registry=registry, bases=store.bases)
        imported = import_folder(exported.folder, "imported", Described(), workspace).version
        examples = list(measured.evaluator.references)
        trained = [_plain(one) for one in measured.scored.predictions]
        assert trained, "no row is held out"
        for version in (result.version, imported):
            serving = task_afresh(registry.task(self.spec.name))
            answers = _served(serving, store, base, version, measured.evaluator.requests)
            judged = [_plain(one) for one in serving.task.judged(answers, examples)]
            assert _close(judged, trained), f"{version.ref} serves {judged}, training saw {trained}"
        store.close()

    def _recipe(self, folder: Path, loaded: LoadedTask) -> Path:
        """Write a recipe and its rows."""
        fields = {field.name: field.kind for field in loaded.task.fields}
        rows = [_numbered(example, number, fields) for number in range(COPIES) for example in self.examples]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
        recipe = {
            "name": "round-trip",
            "task": self.spec.name,
            "base": "small",
            "data": {"source": "rows.jsonl", "eval_fraction": 0.25},
            "train": dict(self.train),
            "method": dict(self.method),
            "options": dict(self.options),
        }
        file = folder / "recipe.yaml"
        file.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        return file


def _numbered(example: Example, number: int, fields: Mapping[str, FieldKind]) -> dict[str, Any]:
    """Return the example with a number after the longest of its texts, so that no two rows are the same.

    Of an image, it follows the end of the file.
    """
    given = {name: kind for name, kind in fields.items() if isinstance(example.get(name), str)}
    images = [name for name, kind in given.items() if kind is FieldKind.IMAGE]
    if images and number:
        numbered = {name: b64decode(example[name].rpartition(",")[2]) + bytes([number]) for name in images}
        return {**example, **{name: b64encode(data).decode() for name, data in numbered.items()}}
    texts = [name for name, kind in given.items() if kind is FieldKind.TEXT]
    if not texts or not number:
        return dict(example)
    longest = max(texts, key=lambda name: len(example[name]))
    return {**example, longest: f"{example[longest]} {number}"}


def _base(folder: Path, spec: TaskSpec) -> Path:
    """Write a tiny base with random weights."""
    head = spec.head
    made_up_base(folder, model_type_of(spec))
    config = AutoConfig.from_pretrained(folder)
    factory: Any = AutoModelForCausalLM if head is HeadKind.GENERATE else AutoModel
    with torch.random.fork_rng():
        torch.manual_seed(0)
        factory.from_config(config).save_pretrained(folder)
    return folder


def _served(
    loaded: LoadedTask, store: Store, base: Base, version: Version, requests: Sequence[BaseModel]
) -> list[Any]:
    """Answer requests with a stored version as a server does."""
    files, serving = read_adapter(store.fetch(version)), version.manifest.serving
    labels = len(serving.labels)
    weights = weights_of(base, files.config, files.tensors, kind=serving.head, num_labels=labels)
    tokenizer: Any = load_tokenizer(base)
    kind = engine_for(base.source, "torch")
    engine = open_engine(kind, EngineRequest(base, slots=1, device="cpu"))
    try:
        engine.write(1, weights)
        answers = []
        for request in requests:
            rows = loaded.task.encode(request, tokenizer, version.info)
            found = engine.run([EngineRow(row, 1, serving.head) for row in rows])
            answers.append(loaded.task.decode(request, found, version.info))
        return answers
    finally:
        engine.close()


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _close(one: Any, other: Any) -> bool:
    """Return whether nested values are equal, and floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == other)
