from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from hub.api import HeadKind, Task
from hub.config import load_settings
from hub.errors import BadPlugin, NotFound, PluginConflict
from hub.registry.host import PluginStatus, Registry
from hub.registry.state import disable

Install = Callable[..., Path]


def status(registry: Registry, distribution: str) -> PluginStatus:
    [found] = [plugin for plugin in registry.plugins() if plugin.distribution == distribution]
    return found


def test_a_working_plugin_is_listed_with_its_tasks(install: Install) -> None:
    install("acme-tickets")
    registry = Registry.load()
    assert status(registry, "acme-tickets") == PluginStatus(
        name="tickets",
        distribution="acme-tickets",
        version="1.0",
        entry_point="acme_tickets.spec",
        state="ok",
        tasks=("ticket-urgency", "ticket-route"),
    )
    assert registry.tasks()["ticket-route"].head is HeadKind.SEQUENCE
    assert registry.spec("ticket-route").factory == "acme_tickets.tasks:Route"


def test_a_task_is_resolved_once(install: Install) -> None:
    install("acme-tickets")
    registry = Registry.load()
    loaded = registry.task("ticket-urgency")
    assert loaded.spec is registry.spec("ticket-urgency")
    assert isinstance(loaded.task, Task)
    assert loaded.request.model_validate({"text": "hi"})
    assert loaded.response.__name__ == "Response"
    assert registry.task("ticket-urgency") is loaded


def test_threads_that_ask_at_once_get_the_same_task(install: Install) -> None:
    install("acme-tickets")
    registry = Registry.load()
    start = Barrier(8)

    def ask(_: int) -> int:
        start.wait()
        return id(registry.task("ticket-urgency").task)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


REASONS = {
    "import": r"ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
    "exit": r"SystemExit: this plugin takes the process down",
    "hook": r"unknown hook 'hub_task'; did you mean 'hub_tasks'\?",
    "signature": r"PluginValidationError: .*hub_tasks",
    "undecorated": r"implements no hook \(hub_tasks lacks @hookimpl\)",
    "raises": r"RuntimeError: the licence server does not answer",
    "spec": r"yields \{'name': 'broken-spec'\}, which is not a TaskSpec",
    "name": r"'\.\./evil' is not a valid task name",
    "object": r"request 'Request'; write it as 'package\.module:Name'",
    "head": r"head 'crystal-ball'; use one of HeadKind\.SEQUENCE",
    "silent": r"broken_silent yields no task",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_plugin_that_does_not_load_is_listed_as_broken_and_the_others_work(
    install: Install, name: str
) -> None:
    install(f"broken-{name}", "acme-tickets")
    registry = Registry.load()
    broken = status(registry, f"broken-{name}")
    assert (broken.state, broken.tasks) == ("broken", ())
    assert re.search(REASONS[name], broken.reason)
    assert registry.task("ticket-urgency").spec.name == "ticket-urgency"
    assert "half-way" not in registry.tasks()


def test_all_broken_plugins_at_once_take_nothing_else_down(install: Install) -> None:
    install(*(f"broken-{name}" for name in REASONS), "acme-tickets")
    registry = Registry.load()
    assert {"ticket-urgency", "ticket-route"} <= set(registry.tasks())
    states = [plugin.state for plugin in registry.plugins() if plugin.name.startswith("broken-")]
    assert states == ["broken"] * len(REASONS)


def test_an_interrupt_from_the_keyboard_is_not_contained(install: Install) -> None:
    install("broken-interrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry.load()


def test_a_missing_task_names_what_there_is_and_the_broken_plugin_that_may_have_it(install: Install) -> None:
    install("acme-tickets", "broken-import")
    with pytest.raises(NotFound, match=r"ticket-route.*'broken-import' is broken: ModuleNotFoundError"):
        Registry.load().task("broken-import")


CLASSES = {
    "missing": r"broken_missing:Request cannot be loaded: AttributeError",
    "example": r"broken_example:Bare has no example",
    "misfit": r"example of broken_misfit:Misfit does not fit it: text: Field required",
    "abstract": r"does not define decode, encode, features, metrics, request",
    "metric": r"\.metric is not the name of a metric",
    "goal": r"\.metric_goal is 'lower'; write 'max' or 'min'",
    "init": r"broken_init:Needy\(\) fails: TypeError.*model_path",
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_task_with_unusable_classes_makes_its_plugin_broken_once_it_is_tried(
    install: Install, name: str
) -> None:
    install(f"broken-{name}", "acme-tickets")
    registry = Registry.load()
    assert status(registry, f"broken-{name}").state == "ok"
    for _ in range(2):
        with pytest.raises(BadPlugin, match=CLASSES[name]):
            registry.task(f"broken-{name}")
    broken = status(registry, f"broken-{name}")
    assert broken.state == "broken"
    assert f"Task 'broken-{name}'" in broken.reason
    assert f"broken-{name}" not in registry.tasks()


def test_check_finds_unusable_tasks_and_keeps_the_usable_ones(install: Install) -> None:
    install("broken-example", "acme-tickets")
    registry = Registry.load()
    registry.check()
    assert status(registry, "broken-example").state == "broken"
    assert status(registry, "acme-tickets").state == "ok"


def test_two_plugins_with_one_task_name_are_a_conflict_and_their_other_tasks_work(install: Install) -> None:
    install("acme-tickets", "rival-tickets")
    registry = Registry.load()
    for distribution in ("acme-tickets", "rival-tickets"):
        conflict = status(registry, distribution)
        assert conflict.state == "conflict"
        assert "'rival' (rival-tickets)" in conflict.reason
        assert "'tickets' (acme-tickets)" in conflict.reason
    with pytest.raises(PluginConflict, match="run: hub plugins disable rival or hub plugins disable tickets"):
        registry.task("ticket-route")
    assert "ticket-route" not in registry.tasks()
    assert registry.task("rival-only").spec.name == "rival-only"
    assert registry.task("ticket-urgency").spec.name == "ticket-urgency"


def test_disabling_one_side_ends_the_conflict(install: Install) -> None:
    install("acme-tickets", "rival-tickets")
    registry = Registry.load({"rival"})
    assert registry.spec("ticket-route").factory == "acme_tickets.tasks:Route"
    assert status(registry, "rival-tickets").state == "disabled"
    assert "rival-only" not in registry.tasks()


def test_two_distributions_with_one_entry_point_name_are_both_loaded(install: Install) -> None:
    install("acme-tickets", "acme-tickets-fork")
    registry = Registry.load()
    assert status(registry, "acme-tickets").state == "ok"
    fork = status(registry, "acme-tickets-fork")
    assert (fork.name, fork.state, fork.tasks) == ("tickets", "ok", ("forked",))
    assert registry.handle(fork) == "acme-tickets-fork:tickets"
    assert "forked" not in Registry.load({registry.handle(fork)}).tasks()


@pytest.mark.parametrize("name", ["tickets", "acme-tickets", "Acme_Tickets", "acme-tickets:tickets"])
def test_a_plugin_is_disabled_by_its_name_its_distribution_or_both(install: Install, name: str) -> None:
    install("acme-tickets")
    registry = Registry.load({name})
    assert status(registry, "acme-tickets").state == "disabled"
    with pytest.raises(NotFound):
        registry.spec("ticket-route")


def test_settings_and_state_disable_together(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-tickets", "rival-tickets")
    monkeypatch.setenv("HUB_PLUGINS__DISABLED", '["rival"]')
    settings = load_settings()
    disable(settings.home, "tickets")
    registry = Registry.of(settings)
    assert status(registry, "acme-tickets").state == "disabled"
    assert status(registry, "rival-tickets").state == "disabled"


LISTING = """
import json, sys
from hub.registry.host import Registry
registry = Registry.load({"rival"})
registry.plugins(), registry.tasks(), registry.spec("ticket-route")
json.dump(sorted(sys.modules), sys.stdout)
"""


def test_listing_imports_no_task_module_no_disabled_plugin_and_no_heavy_library(install: Install) -> None:
    site = install("acme-tickets", "rival-tickets")
    answer = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(answer.stdout))
    assert "acme_tickets.spec" in modules
    assert "acme_tickets.tasks" not in modules
    assert "rival_tickets" not in modules
    assert not modules & {"torch", "transformers", "peft", "onnxruntime", "bentoml", "datasets"}
