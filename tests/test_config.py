from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hub.config import (
    LimitSettings,
    PluginSettings,
    ServeSettings,
    child_environment,
    find_home,
    find_workspace,
    load_settings,
)
from hub.errors import BadConfig


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HUB_HOME")
    folder = tmp_path / "workspace"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "hub.toml").write_text("")
    monkeypatch.chdir(folder)
    return folder


def test_without_file_or_variable_everything_has_its_default(workspace: Path) -> None:
    settings = load_settings()
    assert (settings.serve, settings.limits, settings.plugins) == (
        ServeSettings(),
        LimitSettings(),
        PluginSettings(),
    )
    assert settings.home == workspace / ".hub"


def test_the_file_the_variables_and_the_flags_win_in_this_order(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "hub.toml").write_text("[serve]\nport = 1001\nslots = 5\nthreads = 3\n")
    assert load_settings().serve == ServeSettings(port=1001, slots=5, threads=3)
    monkeypatch.setenv("HUB_SERVE__PORT", "1002")
    monkeypatch.setenv("HUB_SERVE__SLOTS", "6")
    assert load_settings().serve == ServeSettings(port=1002, slots=6, threads=3)
    assert load_settings(flags={"serve": {"port": 1003}}).serve == ServeSettings(
        port=1003, slots=6, threads=3
    )


def test_state_lies_beside_the_nearest_workspace_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace / "deep" / "er")
    assert find_workspace() == workspace
    assert find_home() == workspace / ".hub"
    (workspace / "deep" / "hub.toml").write_text("")
    assert find_home() == workspace / "deep" / ".hub"


def test_a_variable_overrides_the_state_folder_of_the_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_HOME", str(workspace / "elsewhere"))
    assert find_home() == load_settings().home == workspace / "elsewhere"


@pytest.mark.parametrize(
    ("variable", "home"), [("~/state", "state"), ("~", "."), ("state", "deep/state"), ("../state", "state")]
)
def test_the_state_folder_of_the_variable_is_the_same_from_everywhere(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, variable: str, home: str
) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    monkeypatch.setenv("HUB_HOME", variable)
    monkeypatch.chdir(workspace / "deep")
    assert load_settings().home == find_home() == (workspace / home).resolve()
    assert load_settings(flags={"serve": {"port": 1}}).home == find_home()


def test_a_state_folder_of_an_unknown_user_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_HOME", "~nobody-has-this-name/state")
    with pytest.raises(BadConfig, match=r"HUB_HOME is .*there is no user 'nobody-has-this-name'"):
        load_settings()


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is another on other systems")
def test_outside_a_workspace_state_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert find_workspace() is None
    assert find_home() == tmp_path / "data" / "grafthub"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[serve]\nport = 'x'", "serve.port"),
        ("[serve]\nport = 70000", "serve.port"),
        ("[serve]\nprot = 3000", "serve.prot"),
        ("[server]\nport = 3000", "server"),
        ("[serve", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(workspace: Path, text: str, says: str) -> None:
    (workspace / "hub.toml").write_text(text)
    with pytest.raises(BadConfig, match=says) as caught:
        load_settings()
    assert "hub.toml" in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(workspace: Path) -> None:
    (workspace / "hub.toml").write_text("[serve]\nport = 1001\n", encoding="utf-8-sig")
    assert load_settings().serve.port == 1001


def test_a_file_that_is_not_utf8_is_named(workspace: Path) -> None:
    (workspace / "hub.toml").write_bytes(b"# \xff")
    with pytest.raises(BadConfig, match=r"hub\.toml"):
        load_settings()


def test_a_wrong_variable_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__ROWS", "-1")
    with pytest.raises(BadConfig, match=r"'limits\.rows' in .*HUB_\* variable"):
        load_settings()


def test_a_wrong_flag_is_named(workspace: Path) -> None:
    with pytest.raises(BadConfig, match=r"'serve\.port' in a flag"):
        load_settings(flags={"serve": {"port": 0.5}})


def test_settings_do_not_change_and_do_not_print_keys(workspace: Path) -> None:
    settings = load_settings(
        flags={"serve": {"admin_key": "secret-for-admins", "api_keys": ["secret-for-clients"]}}
    )
    assert "secret" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.serve = ServeSettings()


def test_child_processes_get_no_settings_that_may_be_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", "secret-secret-secret")
    monkeypatch.setenv("hub_catalog__url", "postgresql://me:word@here/db")
    monkeypatch.setenv("HUB_HOME", "/here")
    made = child_environment()
    assert "secret-secret-secret" not in made.values()
    assert "word@here" not in "".join(made.values())
    assert (made["HUB_HOME"], made["PATH"]) == ("/here", os.environ["PATH"])
