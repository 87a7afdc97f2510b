"""Small model folders and wheels, made without torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

CONFIG = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 64}


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of model folders: `make("name", seed=1, model_type="bert")`."""

    def make(name: str = "model", seed: int = 0, **config: Any) -> Path:
        folder = tmp_path / "made" / name
        folder.mkdir(parents=True)
        weights = {"embeddings.weight": np.random.default_rng(seed).normal(size=(4, 8)).astype(np.float32)}
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
        (folder / "tokenizer.json").write_text('{"version": "1.0"}')
        return folder

    return make


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a publisher of wheels, and make pip look for packages among them alone."""
    adapter_cache = tmp_path / "index"
    adapter_cache.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(adapter_cache))

    def publish(name: str, version: str, files: Mapping[str, bytes]) -> Path:
        path = adapter_cache / f"{name}-{version}-py3-none-any.whl"
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in files.items():
                wheel.writestr(member, content)
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        return path

    return publish


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return a reader of all files of a folder, by name."""
    return lambda folder: {path.name: path.read_bytes() for path in folder.iterdir()}
