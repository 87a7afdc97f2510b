"""`hub plugins` in this process, on plugins put on sys.path for the test."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from hub.cli.main import app
from hub.client import server_file
from hub.config import load_settings
from hub.errors import BadRequest, Conflict, HubError, NotFound, NotReady
from hub.registry.state import disable, disabled_plugins
from tests.support.plugins import Install, install, plugin_of, write_page

__all__ = ["install"]


@pytest.fixture
def plugged(install: Install, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install plugins for this process and those it starts."""
    monkeypatch.setenv("PYTHONPATH", str(install()), prepend=os.pathsep)
    return install


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plugins", *arguments])


def refused(kind: type[HubError], *arguments: str) -> str:
    """Run a command that must raise `kind`; return the message."""
    error = hub(*arguments).exception
    assert isinstance(error, kind), error
    return str(error)


def listed(command: str = "list") -> dict[str, dict[str, object]]:
    result = hub(command, "--json")
    return {plugin["distribution"]: plugin for plugin in json.loads(result.stdout)}


def test_check_shows_every_plugin_with_its_state_and_reason(plugged: Install) -> None:
    plugged("acme-tickets", "broken-import")
    result = hub("check")
    assert result.exit_code == 1
    assert "acme-tickets 1.0" in result.output
    assert "No module named 'a_module_that_is_not_there'" in result.output
    assert hub("check", "tickets").exit_code == 0


def test_list_disable_and_no_plugins_import_no_third_party_code(
    plugged: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "imported"
    touch = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    spec = "name='made', summary='s', head=HeadKind.SEQUENCE, request='a:b', response='a:b', factory='a:b'"
    code = f"{touch}@hookimpl\ndef hub_tasks():\n    yield TaskSpec({spec})\n"
    plugged(plugin_of(tmp_path, code, "hub.tasks.v1"))
    load_settings().home.mkdir()
    assert listed()["made"]["state"] == "unchecked"
    assert "made: not loaded since it was installed" in hub("list").output
    for words in (("disable", "made"), ("list",), ("enable", "made")):
        assert hub(*words).exit_code == 0
    monkeypatch.setenv("HUB_PLUGINS__POLICY", "all")  # so that what the option sets is undone
    without = CliRunner().invoke(app, ["--no-plugins", "plugins", "info", "made", "--json"])
    assert json.loads(without.stdout)[0]["state"] == "refused"
    assert "--no-plugins" in json.loads(without.stdout)[0]["reason"]
    assert hub("uninstall", "made").exit_code == 1, "pip did not install it"
    assert not marker.exists()
    monkeypatch.delenv("HUB_PLUGINS__POLICY")
    listed("check")
    assert marker.exists()


def test_list_has_what_was_found_when_plugins_were_last_loaded(plugged: Install) -> None:
    plugged("acme-tickets", "broken-import")
    load_settings().home.mkdir()
    assert {**listed("check")["acme-tickets"], "running": [], "change": ""} == listed()["acme-tickets"]
    assert "a_module_that_is_not_there" in str(listed()["broken-import"]["reason"])
    assert listed()["acme-tickets"]["tasks"] == ["ticket-urgency", "ticket-route"]
    plugged("rival-tickets")
    found = listed()
    assert (found["acme-tickets"]["state"], found["rival-tickets"]["state"]) == ("ok", "unchecked")
    listed("check")
    assert listed()["acme-tickets"]["state"] == "conflict"
    hub("disable", "rival")
    assert listed()["acme-tickets"]["state"] == "unchecked", "the conflict may be over"
    assert listed()["rival-tickets"]["state"] == "disabled"


def test_a_plugin_whose_files_or_settings_changed_is_unchecked(
    plugged: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = plugged("acme-tickets")
    load_settings().home.mkdir()
    assert listed("check")["acme-tickets"]["state"] == "ok"
    later = time.time() + 10
    os.utime(site / "acme_tickets" / "spec.py", (later, later))
    assert listed()["acme-tickets"]["state"] == "unchecked"
    assert listed("check")["acme-tickets"]["state"] == "ok"
    monkeypatch.setenv("HUB_PLUGINS__TICKETS__KEY", "x")
    assert listed()["acme-tickets"]["state"] == "unchecked"


def test_check_as_json_is_one_document(plugged: Install) -> None:
    plugged("acme-tickets", "rival-tickets")
    plugins = listed("check")
    assert plugins["acme-tickets"] == {
        "name": "tickets",
        "distribution": "acme-tickets",
        "version": "1.0",
        "entry_point": "acme_tickets.spec",
        "state": "conflict",
        "reason": plugins["rival-tickets"]["reason"],
        "tasks": ["ticket-urgency", "ticket-route"],
        "provides": [],
        "bases": [],
        "group": "hub.tasks.v1",
    }


def test_info_shows_what_a_plugin_provides_and_its_settings_without_secrets(
    plugged: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged(write_page("readers", tmp_path))
    monkeypatch.setenv("HUB_PLUGINS__MAILBOX__ROOT", "/srv/mail")
    monkeypatch.setenv("HUB_PLUGINS__MAILBOX__TOKEN", "s3cret")
    [described] = json.loads(hub("info", "mailbox", "--json").stdout)
    assert (described["state"], described["provides"]) == ("ok", ["reader mbox"])
    assert described["settings"] == {"root": "/srv/mail", "token": "**********", "folders": ["inbox"]}
    shown = hub("info", "acme-mailbox").output
    assert "reader mbox" in shown
    assert "plugins.mailbox.root" in shown and "/srv/mail" in shown
    assert "s3cret" not in shown
    monkeypatch.delenv("HUB_PLUGINS__MAILBOX__ROOT")
    assert "Setting 'plugins.mailbox.root'" in hub("info", "mailbox").output
    assert "reader csv" in hub("info", "hub").output


def test_list_counts_what_a_plugin_provides_much_of() -> None:
    [line] = [line for line in hub("list").output.splitlines() if line.startswith("hub ")]
    assert re.search(r"\b\d+ of \d+ kinds: hub plugins info hub", line), line
    assert "reader csv" not in line


def test_check_finds_what_fails_later(plugged: Install) -> None:
    plugged("broken-example")
    load_settings().home.mkdir()
    [described] = json.loads(hub("info", "broken-example", "--json").stdout)
    assert described["state"] == "ok"
    assert listed("check")["broken-example"]["state"] == "broken"
    assert listed()["broken-example"]["state"] == "broken"


@pytest.fixture
def server_with(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Answer as a server of this home does whose replicas run these plugins, by distribution and version."""

    def serve(*replicas: dict[str, str]) -> None:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reported = [{f"{name}:tickets": (of[name], "ok") for name in of} for of in replicas]
                rows = [{"url": url, "plugins": plugins} for plugins in reported]
                body = json.dumps({"replicas": rows, "catalog_generation": 1}).encode()
                self.send_response(200)
                self.send_header("x-hub-request-id", "1")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        request.addfinalizer(server.server_close)
        request.addfinalizer(server.shutdown)
        load_settings().home.mkdir(exist_ok=True)
        server_file.keep(load_settings().home, url, os.getpid())

    return serve


def test_list_says_what_a_running_server_has_and_what_is_only_installed(
    plugged: Install, server_with: Callable[..., None]
) -> None:
    plugged("acme-tickets", "rival-tickets")
    server_with({"acme-tickets": "0.9", "acme-gone": "2.0"})
    shown = hub("list").output
    assert "tickets: installed 1.0, running 0.9: hub plugins reload" in shown
    assert "rival: installed 1.0, not running: hub plugins reload" in shown
    assert "tickets: uninstalled, running 2.0: hub plugins reload" in shown
    running = listed()["acme-tickets"]["running"]
    assert [(one["version"], one["state"], one["replicas"]) for one in running] == [("0.9", "ok", 1)]
    assert listed()["rival-tickets"]["running"] == []
    assert listed()["acme-gone"]["state"] == "uninstalled"
    disabled = hub("disable", "acme-tickets").output
    assert "is disabled." in disabled and "To change that: hub plugins reload" in disabled
    assert "tickets: disabled, running 0.9: hub plugins reload" in hub("list").output
    assert "hub plugins reload" in hub("enable", "acme-tickets").output


def test_list_counts_the_serving_processes_that_run_a_version(
    plugged: Install, server_with: Callable[..., None]
) -> None:
    plugged("acme-tickets")
    server_with({"acme-tickets": "0.9"}, {"acme-tickets": "1.0"}, {"acme-tickets": "1.0"})
    shown = hub("list").output
    assert "0.9 (1), 1.0 (2)" in shown
    assert "tickets: installed 1.0, running 0.9, 1.0: hub plugins reload" in shown


def test_without_a_server_nothing_is_said_of_a_reload(plugged: Install) -> None:
    plugged("acme-tickets")
    assert "reload" not in hub("disable", "acme-tickets").output + hub("list").output


def test_reload_without_a_server_says_that_the_next_one_has_what_is_installed(plugged: Install) -> None:
    assert "next `hub serve`" in refused(NotReady, "reload")


def test_disable_and_enable_switch_a_plugin_without_importing_it(plugged: Install) -> None:
    plugged("acme-tickets", "broken-interrupt")
    assert hub("disable", "broken-interrupt").exit_code == 0
    assert hub("disable", "acme-tickets").exit_code == 0
    assert listed()["broken-interrupt"]["state"] == "disabled"
    assert listed()["acme-tickets"]["state"] == "disabled"
    assert "acme_tickets.spec" not in sys.modules
    assert hub("enable", "tickets").exit_code == 0
    assert listed("check")["acme-tickets"]["state"] == "ok"


def test_disabling_one_of_two_rivals_resolves_the_conflict(plugged: Install) -> None:
    plugged("acme-tickets", "rival-tickets")
    hub("disable", "rival")
    assert listed("check")["acme-tickets"]["state"] == "ok"


def test_enable_refuses_a_plugin_that_hub_toml_disables(
    plugged: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged("acme-tickets")
    (tmp_path / "hub.toml").write_text('[plugins]\ndisabled = ["tickets"]\n')
    monkeypatch.chdir(tmp_path)
    assert "hub.toml" in refused(Conflict, "enable", "tickets")


@pytest.mark.parametrize("command", ["disable", "enable", "uninstall"])
def test_an_unknown_plugin_lists_the_known_ones(plugged: Install, command: str) -> None:
    plugged("acme-tickets")
    assert "tickets" in refused(NotFound, command, "nothing")
    assert disabled_plugins(load_settings().home) == frozenset()


def test_disable_names_the_deployments_that_need_the_plugin(
    plugged: Install, deploy_task: Callable[[str, str], None]
) -> None:
    plugged("acme-tickets")
    deploy_task("ticket-urgency", "front-desk")
    assert "Deployments need acme-tickets: front-desk (made@1)." in hub("disable", "tickets").output
    assert "acme_tickets.spec" not in sys.modules


def test_uninstall_refuses_while_a_deployment_needs_the_plugin(
    plugged: Install, deploy_task: Callable[[str, str], None]
) -> None:
    plugged("acme-tickets")
    deploy_task("ticket-urgency", "front-desk")
    message = refused(Conflict, "uninstall", "tickets")
    assert "front-desk" in message
    assert "--force" in message


def test_uninstall_as_json_is_one_document_with_what_needs_the_plugin(
    plugged: Install, deploy_task: Callable[[str, str], None]
) -> None:
    plugged("acme-tickets")
    deploy_task("ticket-urgency", "front-desk")
    result = hub("uninstall", "tickets", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    error = document.pop("error")
    assert document == {
        "distribution": "acme-tickets",
        "version": "1.0",
        "plugins": ["tickets"],
        "deployments": {"front-desk": ["made@1"]},
        "versions": ["made@1"],
        "uninstalled": False,
    }
    assert (error["code"], "front-desk (made@1)" in error["message"]) == ("conflict", True)
    forced = json.loads(hub("uninstall", "tickets", "--json", "--force").stdout)
    assert "could not be uninstalled" in forced["error"]["message"], "pip did not install it"


def test_uninstall_cannot_remove_what_pip_did_not_install(plugged: Install) -> None:
    plugged("acme-tickets")
    disable(load_settings().home, "acme-tickets:tickets")
    assert "acme-tickets could not be uninstalled" in refused(Conflict, "uninstall", "tickets")
    assert disabled_plugins(load_settings().home) == {"acme-tickets:tickets"}


def test_new_writes_a_plugin_for_the_head_that_it_is_given(tmp_path: Path) -> None:
    heads = (("mine", ()), ("writer", ("--head", "generate")), ("rater", ("--head", "number")))
    for name, options in heads:
        result = hub("new", name, "--dir", str(tmp_path), *options)
        assert result.exit_code == 0, result.exception
    spec = (tmp_path / "{0}/src/grafthub_{0}/spec.py").as_posix()
    assert "HeadKind.SEQUENCE" in Path(spec.format("mine")).read_text()
    assert "HeadKind.GENERATE" in Path(spec.format("writer")).read_text()
    assert "TargetKind.NUMBER" in Path(spec.format("rater")).read_text()
    assert hub("new", "other", "--dir", str(tmp_path), "--head", "span").exit_code == 2


def test_new_writes_a_plugin_of_another_kind(tmp_path: Path) -> None:
    assert "hub train" not in hub("new", "mail", "--dir", str(tmp_path), "--kind", "reader").output
    assert "hub.plugins.v1" in (tmp_path / "mail" / "pyproject.toml").read_text()
    assert "leave it out" in refused(
        BadRequest, "new", "x", "--dir", str(tmp_path), "--kind", "reader", "--head", "generate"
    )
