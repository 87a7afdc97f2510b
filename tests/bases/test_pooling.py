"""How a base was trained to make vectors is read from the file of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.api import Pooling
from hub.bases.cache import Bases
from hub.bases.pooling import POOLING_FILE, POOLING_MODES, read_pooling
from hub.bases.sources import FolderSource
from hub.errors import BadBase

OFF = dict.fromkeys([*POOLING_MODES.values(), "pooling_mode_max_tokens"], False)


def write(folder: Path, config: Any) -> Path:
    path = folder / POOLING_FILE
    path.parent.mkdir(parents=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("on", "pooling"),
    [
        ("pooling_mode_mean_tokens", Pooling.MEAN),
        ("pooling_mode_cls_token", Pooling.CLS),
        ("pooling_mode_lasttoken", Pooling.LAST),
        ("pooling_mode_max_tokens", None),
    ],
)
def test_each_mode(tmp_path: Path, on: str, pooling: Pooling | None) -> None:
    folder = write(tmp_path, {"word_embedding_dimension": 384, "include_prompt": True, **OFF, on: True})
    assert read_pooling(folder) is pooling


def test_two_modes_at_once_are_none_of_ours(tmp_path: Path) -> None:
    both = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    assert read_pooling(write(tmp_path, {**OFF, **both})) is None


def test_a_folder_without_the_file_says_nothing(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", '"mean"'])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, model_folder, content: str) -> None:
    folder = write(model_folder(), content)
    with pytest.raises(BadBase, match="1_Pooling"):
        Bases(tmp_path).pull(str(folder))
    assert Bases(tmp_path).list() == []


def test_a_pulled_base_keeps_it_and_has_the_fingerprint_that_it_had_without(
    tmp_path: Path, model_folder
) -> None:
    plain = Bases(tmp_path).pull(str(model_folder("plain")))
    folder = write(model_folder("means"), {**OFF, "pooling_mode_mean_tokens": True})
    base = Bases(tmp_path).pull(str(folder))
    assert (plain.pooling, base.pooling) == (None, Pooling.MEAN)
    assert base.fingerprint == plain.fingerprint
    again = Bases(tmp_path).pull(str(base.path), "copy")
    assert again.pooling is Pooling.MEAN
    assert not FolderSource(folder).differs_from(base.fingerprint)


def test_it_is_found_in_a_wheel(tmp_path: Path, model_folder, package_index, contents) -> None:
    files = {f"carrier/model/{name}": body for name, body in contents(model_folder()).items()}
    means = json.dumps({**OFF, "pooling_mode_mean_tokens": True}).encode()
    package_index("carrier", "1.0", {**files, f"carrier/model/{POOLING_FILE}": means})
    assert Bases(tmp_path).pull("pypi:carrier==1.0").pooling is Pooling.MEAN


def test_a_minilm_that_was_pulled_before_it_was_recorded_is_known(tmp_path: Path, model_folder) -> None:
    bases = Bases(tmp_path)
    path = bases.pull(str(model_folder()), "old").path / "base.json"
    record = json.loads(path.read_text())
    del record["pooling"]
    path.write_text(json.dumps(record))
    assert bases.get("old").pooling is None
    path.write_text(json.dumps({**record, "source": "minilm"}))
    assert bases.get("old").pooling is Pooling.MEAN
