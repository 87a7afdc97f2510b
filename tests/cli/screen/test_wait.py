"""`--wait` of the commands that change a deployment, and the table of replicas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.errors import NotServed
from hub.store.catalog.replicas import Replicas


def hub(*args: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=status != 0)
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def replica(fake_home):
    """Report a replica that serves a generation."""
    fake_home.add("mood", seed=1), fake_home.add("mood", seed=2)

    def report(id: str, generation: int, **failures: str) -> None:
        where: dict[str, Any] = {"host": "box", "pid": 7, "url": "http://box:3000"}
        Replicas(fake_home.store.catalog).report(id, **where, generation=generation, failures=failures)

    return report


@pytest.mark.parametrize("wait", [["--wait"], ["--wait", "all"], ["--wait", "quorum"], ["--wait=all"]])
def test_it_returns_once_the_replicas_serve_it(replica, wait) -> None:
    replica("one", 1)
    assert "Served by 1 of 1 replicas." in hub("deploy", *wait, "mood@1")


def test_those_that_do_not_serve_it_in_time_are_an_error_that_names_them(replica, fake_home) -> None:
    replica("one", 1), replica("two", 0)
    with pytest.raises(NotServed, match=r"two on box, process 7 \(http://box:3000\): it serves generation 0"):
        hub("deploy", "mood@1", "--wait", "--timeout", "0.1")
    assert str(fake_home.store.deployment("mood").stable.ref) == "mood@1", "the move stays"


def test_a_quorum_lists_the_missing_replicas(replica) -> None:
    replica("one", 1), replica("two", 1), replica("three", 1, mood="stable mood@1: no such base")
    message = hub("deploy", "mood@1", "--wait", "quorum", "--timeout", "5")
    assert "Served by 2 of 3 replicas." in message
    assert "three on box, process 7 (http://box:3000): stable mood@1: no such base" in message


def test_without_a_replica_there_is_nobody_to_wait_for(replica) -> None:
    with pytest.raises(NotServed, match="no replica is running"):
        hub("deploy", "mood@1", "--wait", "--timeout", "0.1")


def test_promotions_and_rollbacks_can_be_waited_for(replica) -> None:
    replica("one", 9)
    hub("deploy", "mood@1"), hub("deploy", "mood@2", "--canary", "10")
    promoted = json.loads(hub("promote", "mood", "--wait", "--json"))
    assert (promoted["version"], len(promoted["serving"]), promoted["missing"]) == ("mood@2", 1, [])
    assert "Served by 1 of 1 replicas." in hub("rollback", "mood", "--wait")


def test_other_words_are_no_number_of_replicas(replica) -> None:
    assert "most" in hub("deploy", "mood@1", "--wait=most", status=2)


def test_nobody_is_waited_for_unless_asked(replica) -> None:
    replica("one", 0)
    message = hub("deploy", "mood@1")
    assert "Served by" not in message
    assert "No server runs here; 1 elsewhere will serve it." in message


@pytest.mark.parametrize("command", ["status", "deployments"])
def test_replicas_are_shown_how_far_behind_they_are_and_their_failures(replica, command) -> None:
    hub("deploy", "mood@1")
    replica("0123456789abcdef", 0, mood="stable mood@1: no such base")
    message = hub(command)
    assert "0123456789ab" in message and "box:7" in message and "http://box:3000" in message
    assert "failed mood on 0123456789ab: stable mood@1: no such base" in message
    (result,) = json.loads(hub(command, "--json"))["replicas"]
    assert (result["generation"], result["behind"]) == (0, 1)
