from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hub.errors import Conflict
from hub.files import expanded, move_folder, new_folder, replacing, write_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with replacing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path):
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    with replacing(tmp_path / "key", private=True) as aside:
        assert mode(aside) == 0o600
    assert mode(tmp_path / "key") == 0o600
    write_file(tmp_path / "page", "text")
    assert mode(tmp_path / "page") == 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


def test_a_durable_write_flushes_the_file_before_the_rename_and_the_folder_after(
    tmp_path, monkeypatch
) -> None:
    flushed, path = [], tmp_path / "x"
    monkeypatch.setattr("hub.files.sync", lambda each: flushed.append((each == tmp_path, path.exists())))
    write_file(path, b"data")
    assert flushed == []
    path.unlink()
    write_file(path, b"data", durable=True)
    assert flushed == [(False, False), (True, True)]


def test_a_moved_folder_is_flushed_first(tmp_path, monkeypatch) -> None:
    folder, target, flushed = tmp_path / "a", tmp_path / "b", []
    folder.mkdir()
    (folder / "x").write_text("")
    monkeypatch.setattr("hub.files.sync", lambda each: flushed.append((each.name, target.exists())))
    move_folder(folder, target)
    assert flushed == [("x", False), ("a", False), (tmp_path.name, True)]


def test_a_new_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "deep" / "x"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "deep") == []
    with new_folder(tmp_path / "deep" / "x") as aside:
        (aside / "file").touch(mode=0o600)
    assert mode(tmp_path / "deep" / "x" / "file") == 0o644
    with pytest.raises(Conflict, match="not empty"), new_folder(tmp_path / "deep" / "x"):
        pass


def test_only_a_known_user_is_replaced_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x.csv") == tmp_path / "x.csv"
    assert expanded("~nobody-has-this-name/x.csv") == Path("~nobody-has-this-name/x.csv")
