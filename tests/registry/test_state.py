from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hub.errors import BadConfig
from hub.files import write_file
from hub.registry.state import disable, disabled_plugins, enable


def test_nothing_is_disabled_at_first(tmp_path: Path) -> None:
    assert disabled_plugins(tmp_path / "new") == frozenset()


def test_disable_and_enable_are_kept_and_may_be_repeated(tmp_path: Path) -> None:
    home = tmp_path / "new"
    disable(home, "qa")
    disable(home, "qa")
    disable(home, "sentiment")
    assert disabled_plugins(home) == {"qa", "sentiment"}
    enable(home, "qa")
    enable(home, "qa")
    assert disabled_plugins(home) == {"sentiment"}
    assert {path.name for path in home.iterdir()} <= {"plugins.json", ".plugins.json.lock"}


def test_of_two_processes_that_disable_plugins_at_once_none_undoes_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*given: Any, **options: Any) -> None:
        time.sleep(0.2)
        write_file(*given, **options)

    monkeypatch.setattr("hub.registry.state.write_file", slowly)
    names = {"qa", "sentiment", "acme"}
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: disable(tmp_path, name), names))
    assert disabled_plugins(tmp_path) == names


def test_a_write_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disable(tmp_path, "qa")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        disable(tmp_path, "sentiment")
    assert disabled_plugins(tmp_path) == {"qa"}
    assert {path.name for path in tmp_path.iterdir()} <= {"plugins.json", ".plugins.json.lock"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"disabled": "qa"}', '{"disabled": [1]}', "\x00"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "plugins.json").write_text(text)
    with pytest.raises(BadConfig, match=r"is damaged.*delete it"):
        disabled_plugins(tmp_path)
