"""What may be loaded while a server runs; tests/http/test_vllm.py loads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hub.config import Settings
from hub.errors import Forbidden
from hub.imports.load import AdapterFolder, load_adapter


def test_without_the_setting_no_folder_is_allowed(tmp_path) -> None:
    runtime: Any = SimpleNamespace(settings=Settings(home=tmp_path), store=None)
    with pytest.raises(Forbidden, match=r"serve\.adapter_roots"):
        load_adapter(runtime, "x", AdapterFolder(str(tmp_path)))


def test_a_root_is_an_absolute_path() -> None:
    with pytest.raises(ValueError, match="number 1: write an absolute path"):
        Settings(serve={"adapter_roots": ["adapters"]})
