"""What plugin code prints, or ends, where a command calls it."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.config import load_settings
from hub.errors import BadPlugin
from hub.registry.host import Registry
from hub.registry.loaded import plugin_call
from hub.registry.stdout import printing_to
from tests.support.plugins import Install, plugin_of

NOISY = """
print("imported")

@hookimpl
def hub_tasks():
    print("called")
    yield TaskSpec("made", "Makes.", HeadKind.SEQUENCE, "made:Q", "made:A", "made:T")

class T: ...
"""


def test_plugin_code_prints_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with plugin_call("mood", "features()"):
        print("from a plugin")
    print('{"from": "the command"}')
    shown = capsys.readouterr()
    assert shown.out == '{"from": "the command"}\n'
    assert shown.err == "from a plugin\n"


def test_a_plugin_that_prints_when_it_is_loaded_leaves_standard_output_alone(
    tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(plugin_of(tmp_path, NOISY, "hub.tasks.v1"))
    assert "made" in {plugin.name for plugin in Registry.of(load_settings()).plugins()}
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "imported" in shown.err


def test_only_the_thread_of_the_plugin_prints_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    entered, printed = threading.Event(), threading.Event()

    def plugin() -> None:
        with printing_to():
            entered.set()
            assert printed.wait(20)
            print("plugin")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(plugin)
        assert entered.wait(20)
        print("command")
        printed.set()
        running.result(20)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("command\n", "plugin\n")


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), MemoryError(), ValueError()])
def test_whatever_plugin_code_raises_in_a_command_names_the_task(error: BaseException) -> None:
    with (
        pytest.raises(BadPlugin, match=rf"'mood' failed in features\(\): {type(error).__name__}"),
        plugin_call("mood", "features()"),
    ):
        raise error


def test_an_interruption_of_a_command_is_not_the_plugins() -> None:
    with pytest.raises(KeyboardInterrupt), plugin_call("mood", "features()"):
        raise KeyboardInterrupt


def test_a_handler_of_the_log_that_is_made_later_writes_to_standard_output() -> None:
    code = """
import logging, sys
from hub.registry.stdout import printing_to, unwrap_stdout
with printing_to(sys.stderr):
    unwrap_stdout()
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
with printing_to(sys.stderr):
    logging.getLogger("acme").warning("logged")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("logged\n", "")
