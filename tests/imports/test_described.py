"""The task and the base of a PEFT folder whose caller names neither."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.api import HeadKind
from hub.bases.cache import Bases
from hub.config import Settings
from hub.errors import BadAdapter, BadRequest
from hub.imports.described import describe_folder
from hub.imports.folder import Described
from hub.registry.host import Registry
from hub.store.store import Store
from tests.support.homes import FakeHome, plain_adapter
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]


@dataclass
class Workspace:
    settings: Settings
    store: Store
    registry: Registry
    bases: Bases


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, tiny_base_folder) -> Workspace:
    home = FakeHome(tmp_path_factory.mktemp("described") / "home", tiny_base_folder)
    return Workspace(Settings(home=home.path), home.store, Registry.load(), home.store.bases)


def folder(path: Path, kind: HeadKind, **config: object) -> Path:
    adapter = plain_adapter(path / "adapter", kind=kind)
    stated = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(stated | config))
    return adapter


@pytest.mark.parametrize(
    ("kind", "config", "task"),
    [
        (HeadKind.GENERATE, {"task_type": "CAUSAL_LM"}, "generation"),
        (HeadKind.GENERATE, {"task_type": "SEQ_2_SEQ_LM"}, "translation"),
        (HeadKind.TOKEN, {}, "extraction"),
        (HeadKind.SPAN, {}, "qa"),
        (HeadKind.EMBEDDING, {}, "similarity"),
    ],
)
def test_the_task_has_the_head_of_the_adapter(workspace, tmp_path, kind, config, task) -> None:
    adapter = folder(tmp_path, kind, base_model_name_or_path="somewhere/tiny", **config)
    assert describe_folder(adapter, workspace) == Described(task, "tiny")


def test_of_several_tasks_one_has_to_be_named(workspace, tmp_path) -> None:
    adapter = folder(tmp_path, HeadKind.SEQUENCE, base_model_name_or_path="tiny")
    with pytest.raises(BadRequest, match=r"'task'. Several have .* SEQ_CLS: classification, sentiment"):
        describe_folder(adapter, workspace)
    assert describe_folder(adapter, workspace, task="sentiment") == Described("sentiment", "tiny")


@pytest.mark.parametrize("name", ["another/base", None])
def test_a_base_that_is_not_here_has_to_be_named(workspace, tmp_path, name) -> None:
    adapter = folder(tmp_path, HeadKind.SPAN, base_model_name_or_path=name)
    with pytest.raises(BadRequest, match=r"'base'\. None has the name"):
        describe_folder(adapter, workspace)
    assert describe_folder(adapter, workspace, base="tiny") == Described("qa", "tiny")


@pytest.mark.parametrize("stated", ["NO_SUCH_TYPE", None, ["SEQ_CLS"]])
def test_a_task_type_that_is_unknown_is_refused(workspace, tmp_path, stated) -> None:
    adapter = folder(tmp_path, HeadKind.SPAN, base_model_name_or_path="tiny", task_type=stated)
    with pytest.raises(BadAdapter, match="task_type"):
        describe_folder(adapter, workspace)


def test_a_manifest_needs_no_description(workspace, tmp_path) -> None:
    adapter = folder(tmp_path, HeadKind.SPAN)
    (adapter / "manifest.json").write_text("{}")
    assert describe_folder(adapter, workspace) == Described()
