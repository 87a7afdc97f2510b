"""`hub deploy --canary` and `--shadow`, `hub promote`, `undeploy` and `deployments`, no server running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.errors import BadAdapter, BadRequest, Conflict, NotFound
from hub.store.change import Deploy, DeploymentChange
from tests.support.waiting import until


def hub(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def home(fake_home):
    """A home with the deployment `mood` on its first version, and two more to try."""
    for seed in (1, 2, 3):
        fake_home.add("mood", seed=seed)
    hub("deploy", "mood@1", "--reason", "first")
    return fake_home


def test_a_canary_gets_its_share_and_its_guard(home) -> None:
    result = hub(
        "deploy", "mood@2", "--canary", "12.5", "--guard", "error_rate=0.01", "--guard", "p99_ms=200"
    )
    assert "serves mood@1" in result
    assert "mood@2 answers 12.5 % of its requests, guarded by error_rate=0.01, p99_ms=200" in result
    canary = home.store.deployment("mood").canary
    assert (canary.percent, canary.guard) == (12.5, {"error_rate": 0.01, "p99_ms": 200})


def test_a_shadow_is_named_as_such(home) -> None:
    assert "mood@3 runs on the same requests" in hub("deploy", "mood@3", "--as", "mood", "--shadow")
    assert str(home.store.deployment("mood").shadow.ref) == "mood@3"


def test_a_canary_is_promoted_and_its_promotion_undone(home) -> None:
    hub("deploy", "mood@2", "--canary", "10")
    assert "serves mood@2 (before: mood@1)" in hub("promote", "mood", "--reason", "good")
    assert "serves mood@1 (before: mood@2)" in hub("rollback", "mood")


def test_a_rollback_takes_a_trial_away(home) -> None:
    hub("deploy", "mood@2", "--canary", "10"), hub("deploy", "mood@3", "--shadow")
    moved = json.loads(hub("rollback", "mood", "--json"))
    assert (moved["version"], moved["canary"], moved["shadow"]) == ("mood@1", None, None)


def test_a_deployment_is_taken_away(home) -> None:
    assert "mood is removed" in hub("undeploy", "mood", "--reason", "not used")
    assert home.store.deployments() == []
    assert home.store.history("mood")[-1].reason == "not used"
    with pytest.raises(NotFound):
        hub("undeploy", "mood")


def test_a_canary_without_a_server_is_checked_too(home) -> None:
    bad = home.add("mood", seed=9)
    with (bad.path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BadAdapter, match="altered"):
        hub("deploy", str(bad.ref), "--canary", "10")
    assert home.store.deployment("mood").canary is None


@pytest.mark.parametrize(
    ("args", "kind", "said"),
    [
        (["deploy", "mood@2", "--canary", "10", "--shadow"], BadRequest, "not as both"),
        (["deploy", "mood@2", "--guard", "error_rate=0.1"], BadRequest, "guard watches a canary"),
        (["deploy", "mood@2", "--canary", "10", "--guard", "error_rate"], BadRequest, "KEY=VALUE"),
        (["deploy", "mood@2", "--canary", "10", "--guard", "speed=9"], BadRequest, "speed"),
        (["deploy", "mood@1", "--canary", "10"], Conflict, "live in 'mood' already"),
        (["deploy", "mood@2", "--as", "taste", "--canary", "10"], NotFound, "taste"),
        (["promote", "mood"], Conflict, "no canary and no shadow"),
        (["promote", "taste"], NotFound, "mood"),
        (["deployments", "taste"], NotFound, "mood"),
        (["deployments", "--history"], BadRequest, "--history needs a name"),
    ],
)
def test_what_cannot_be_meant_is_refused(home, args, kind, said) -> None:
    generation = home.store.generation()
    with pytest.raises(kind, match=said):
        hub(*args)
    assert home.store.generation() == generation


def test_a_share_over_all_is_refused_by_the_command_itself(home) -> None:
    result = CliRunner().invoke(app, ["deploy", "mood@2", "--canary", "101"])
    assert result.exit_code == 2


def test_deployments_are_listed_with_their_tracks(home) -> None:
    hub("deploy", "mood@2", "--canary", "12.5", "--guard", "error_rate=0.1")
    hub("deploy", "mood@3", "--shadow")
    hub("deploy", "mood@1", "--as", "alone")
    lines = hub("deployments").splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "TASK", "STABLE", "CANARY", "SHADOW", "SINCE"]
    assert lines[1].split()[:5] == ["alone", "sentiment", "mood@1", "-", "-"]
    assert lines[2].split()[:7] == ["mood", "sentiment", "mood@1", "mood@2", "12.5", "%", "guarded"]
    assert lines[2].split()[7] == "mood@3"
    (one,) = json.loads(hub("deployments", "mood", "--json"))["deployments"]
    assert (one["canary"]["percent"], one["shadow"]["version"]) == (12.5, "mood@3")


def test_an_empty_home_shows_the_next_command() -> None:
    assert "hub deploy" in hub("deployments")


def test_the_history_has_time_author_change_and_reason(home) -> None:
    hub("deploy", "mood@2", "--canary", "10", "--reason", "spring reviews")
    hub("promote", "mood", "--reason", "did well")
    result = hub("deployments", "mood", "--history")
    assert "did well" in result and "spring reviews" in result and "promote" in result
    history = json.loads(hub("deployments", "mood", "--history", "--json"))["history"]
    assert [(move["kind"], move["before"], move["after"], move["reason"]) for move in history] == [
        ("deploy", None, "mood@1", "first"),
        ("canary", None, "mood@2", "spring reviews"),
        ("promote", "mood@1", "mood@2", "did well"),
    ]
    assert all("@" in move["who"] and move["when"] for move in history)


def test_the_history_of_what_was_taken_away_is_still_there(home) -> None:
    hub("undeploy", "mood")
    result = hub("deployments", "mood", "--history")
    assert "no longer deployed" in result
    assert "undeploy" in result


def test_a_watch_prints_a_line_for_every_change_until_it_is_interrupted(home) -> None:
    command = [sys.executable, "-m", "hub", "deployments", "--watch", "--json"]
    # A test run in the background of a script has SIGINT ignored, and its processes inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = dict(os.environ)
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heard)  # noqa: PLW1509
    lines: list[dict] = []
    reading = threading.Thread(target=lambda: lines.extend(map(json.loads, watch.stdout)))
    reading.start()
    try:
        assert until(lambda: len(lines) == 1)
        home.store.deploy("mood", Deploy(version="mood@2", canary=5, by="t"))
        assert until(lambda: len(lines) == 2)
        home.store.undeploy("mood", DeploymentChange(by="t"))
        assert until(lambda: len(lines) == 3)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 0
    finally:
        watch.kill()
        reading.join()
        watch.stdout.close()
    assert [line.get("canary") and line["canary"]["percent"] for line in lines] == [None, 5, None]
    assert lines[2] == {"name": "mood", "removed": True}
