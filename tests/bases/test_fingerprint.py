from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.bases.fingerprint import fingerprint, is_model_file, read_json
from hub.errors import BadBase


def test_the_layout_of_json_and_the_name_of_its_writer_do_not_count(model_folder) -> None:
    one, two = model_folder("one"), model_folder("two")
    config = json.loads((two / "config.json").read_text())
    (two / "config.json").write_text(
        json.dumps({"transformers_version": "9.9", "_name_or_path": "/home/me/x", **config}, indent=8)
    )
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "vocab.txt"])
def test_any_change_of_config_tokenizer_or_weights_counts(model_folder, name: str) -> None:
    folder = model_folder()
    before = fingerprint(folder)
    old = (folder / name).read_bytes() if (folder / name).exists() else b""
    (folder / name).write_bytes(old[:-1] + b', "x": 1}' if name.endswith(".json") else old + b"\0")
    assert fingerprint(folder) != before


def test_files_that_are_no_part_of_the_model_do_not_count(model_folder) -> None:
    folder = model_folder()
    before = fingerprint(folder)
    (folder / "README.md").write_text("hello")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert fingerprint(folder) == before


def test_the_name_of_a_file_counts(model_folder) -> None:
    one, two = model_folder("one"), model_folder("two")
    (one / "vocab.txt").write_text("a")
    (two / "merges.txt").write_text("a")
    assert fingerprint(one) != fingerprint(two)


def test_shards_are_model_files_and_pickles_are_not() -> None:
    assert is_model_file("model-00001-of-00002.safetensors")
    assert not any(map(is_model_file, ("pytorch_model.bin", "model.py", "../config.json", "base.json")))


@pytest.mark.parametrize("text", ["", "[1]", "{", "\udcff"])
def test_what_is_not_a_json_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadBase, match=r"config\.json"):
        read_json(path)
