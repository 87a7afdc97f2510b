"""Stored versions are compared with the plugins that are installed."""

from __future__ import annotations

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.config import load_settings
from hub.errors import DeploymentsLost, NotReady, RequiredPluginFailed, VersionsUnreadable
from hub.http.process import takeover
from hub.http.process.worker_config import Handover
from hub.registry.host import Registry
from hub.serving.control.upgrade import described, find_unreadable
from hub.serving.runtime import Runtime
from hub.store.change import Deploy
from tests.serving.control.test_fitness import change_fields, change_format, change_options, made_with


@pytest.fixture
def made(home):
    """Three versions: live, stored, and of a task that no plugin has."""
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1, plugin=made_with()).ref, by="t"))
    home.add("spare", seed=2, plugin=made_with())
    gone = made_with(distribution="acme-gone")
    home.add("gone", seed=3, task="gone", plugin=gone)
    return home


def by_name(home, distribution: str = "", rehearse: int = 0):
    found = find_unreadable(home.store, Registry.load(), distribution, rehearse=rehearse)
    return {one.version: one for one in found}


def test_a_version_whose_task_no_plugin_has_cannot_be_read(made) -> None:
    found = by_name(made)
    assert set(found) == {"gone@1"}
    assert found["gone@1"].certain and "No task named 'gone'" in found["gone@1"].reason
    assert by_name(made, "grafthub-sentiment") == {}


@pytest.mark.parametrize("change", [change_fields, change_format])
def test_versions_of_another_contract_cannot_be_read_and_live_ones_are_marked(
    made, monkeypatch, change
) -> None:
    change(monkeypatch)
    found = by_name(made, "grafthub-sentiment")
    assert {name: (one.live, one.certain) for name, one in found.items()} == {
        "mood@1": (("mood",), True),
        "spare@1": ((), True),
    }
    assert "made with grafthub-sentiment 0.9" in found["mood@1"].reason
    assert described(list(found.values())).startswith("mood@1, spare@1. ")


def test_a_version_whose_answers_may_differ_is_not_certain(made, monkeypatch) -> None:
    change_options(monkeypatch)
    found = by_name(made, "grafthub-sentiment")
    assert {one.certain for one in found.values()} == {False}


def test_labels_with_which_the_task_answers_no_example_are_certain(made, monkeypatch) -> None:
    change_options(monkeypatch)

    def refuse(self, request, outputs, adapter):
        raise ValueError("These labels are no stars.")

    monkeypatch.setattr(SentimentTask, "decode", refuse)
    found = by_name(made, "grafthub-sentiment", rehearse=1)
    assert {name: one.certain for name, one in found.items()} == {"mood@1": True, "spare@1": False}, (
        "live first"
    )
    assert "These labels" in found["mood@1"].reason or "decode" in found["mood@1"].reason
    found = by_name(made, "grafthub-sentiment", rehearse=9)
    assert {one.certain for one in found.values()} == {True}


def test_a_version_without_a_recorded_plugin_belongs_to_the_one_that_has_its_task(home, monkeypatch) -> None:
    home.add("old", seed=1)
    home.add("else", seed=2, task="classification")
    assert by_name(home, "grafthub-sentiment") == {}
    monkeypatch.setattr(SentimentTask, "adapter_format", 2)
    assert by_name(home, "grafthub-sentiment") == {}, "it is tried when it is deployed"


def a_runtime(**plugins) -> Runtime:
    settings = load_settings(flags={"serve": {"engine": "fake"}, "plugins": plugins})
    return Runtime(settings, Registry.of(settings))


NOTHING_NEW = Handover(unreadable=("gone@1",))


def test_a_worker_takes_over_what_the_previous_one_can_serve(made) -> None:
    takeover.check_plugins(a_runtime(), NOTHING_NEW)
    with pytest.raises(VersionsUnreadable, match=r"gone@1.*--yes"):
        takeover.check_plugins(a_runtime(), Handover())
    takeover.check_plugins(a_runtime(), Handover(accept=True))


def test_a_worker_does_not_take_over_if_a_live_deployment_would_be_lost(made, monkeypatch) -> None:
    change_format(monkeypatch)
    with pytest.raises(DeploymentsLost, match=r"mood: mood@1 was made with .* --force"):
        takeover.check_plugins(a_runtime(), Handover(unreadable=("gone@1",), accept=True))
    takeover.check_plugins(a_runtime(), Handover(unreadable=("gone@1",), force=True))


def test_a_required_plugin_has_to_work_in_the_new_worker_whatever_is_forced(made) -> None:
    with pytest.raises(RequiredPluginFailed, match="acme-absent"):
        takeover.check_plugins(a_runtime(required=["acme-absent"]), Handover(force=True))


def test_what_could_not_be_loaded_is_lost_unless_the_previous_worker_had_not_served_it(
    made, start, monkeypatch
) -> None:
    change_format(monkeypatch)
    runtime = start().runtime
    assert takeover.what_is_broken(runtime) == {
        "broken": ["mood"],
        "unreadable": ["gone@1", "mood@1", "spare@1"],
    }
    with pytest.raises(DeploymentsLost, match="mood: mood@1"):
        takeover.check_served(runtime, Handover())
    for handover in (Handover(broken=("mood",)), Handover(force=True)):
        takeover.check_served(runtime, handover)
    with pytest.raises(NotReady):
        takeover.check_served(a_runtime(), Handover())


def test_a_loading_worker_is_the_first_to_go_when_memory_runs_out(tmp_path, monkeypatch) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text("5")
    monkeypatch.setattr(takeover, "_SCORE", score)
    with takeover.first_victim():
        assert int(score.read_text()) == 900
    assert score.read_text() == "5"
    monkeypatch.setattr(takeover, "_SCORE", tmp_path / "absent")
    with takeover.first_victim():
        assert not (tmp_path / "absent").exists()
