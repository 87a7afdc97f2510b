"""`name@N` is answered by exactly that version, or by none."""

from __future__ import annotations

import asyncio
import random

import pytest

from hub.errors import Conflict, InvalidName, NotFound, VersionUnavailable
from hub.serving.observation import Track
from hub.serving.routing.router import Router
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy, DeploymentChange

TEXT = "a warm and funny film"


@pytest.fixture
def live(add, start, watching):
    """`mood` with taste@2 stable, taste@1 before it, taste@3 a canary of all requests; `other` apart."""
    for seed in range(4):
        add("taste", seed=seed)
    add("plain", seed=9)
    hub = start(observer=watching, slots=8)
    for number in (1, 2):
        hub.runtime.deploy("mood", Deploy(version=f"taste@{number}", by="t"))
    hub.runtime.deploy("mood", Deploy(version="taste@3", canary=100.0, by="t"))
    hub.runtime.deploy("other", Deploy(version="plain@1", by="t"))
    return hub


@pytest.mark.parametrize("name", ["mood", "taste"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_pinned_version_answers_by_the_name_of_its_deployment_or_adapter(live, name, number) -> None:
    assert live.ask(f"{name}@{number}", TEXT).version == f"taste@{number}"
    assert live.leases() == 0


def test_an_exact_name_comes_before_a_number(add, live) -> None:
    add("mood", seed=7)
    live.runtime.deploy("second", Deploy(version="mood@1", by="t"))
    assert live.ask("mood@1", TEXT).version == "taste@1", "the deployment's version 1"
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@1", canary=1.0, by="t"))
    assert live.ask("mood@1", TEXT).version == "mood@1", "the one named so in the deployment"


def test_a_version_of_another_deployment_answers_by_its_own_name(live) -> None:
    live.runtime.deploy("second", Deploy(version="taste@4", by="t"))
    assert live.ask("taste@4", TEXT).version == "taste@4"
    with pytest.raises(
        VersionUnavailable, match=r"'mood' has no version 4 .*taste@2 \(stable\), taste@3 \(can"
    ):
        live.ask("mood@4", TEXT)


def test_of_several_deployments_one_that_loads_the_version_answers(live) -> None:
    live.runtime.deploy("zest", Deploy(version="taste@1", by="t"))
    route = by_name("taste@1")(live.runtime.router.routes)
    assert (route.name, route.loads_on_demand) == ("zest", True)
    assert by_name("mood@1")(live.runtime.router.routes).name == "mood"


def test_a_version_that_nothing_serves_is_answered_with_those_there_are(live) -> None:
    with pytest.raises(
        VersionUnavailable, match=r"taste@4\. Available: taste@1, taste@2, taste@3\."
    ) as refused:
        live.ask("taste@4", TEXT)
    assert (refused.value.status, refused.value.code) == (404, "version_unavailable")


def test_a_name_of_nothing_is_not_found(live) -> None:
    with pytest.raises(NotFound, match=r"'nope'.*mood, other") as refused:
        live.ask("nope@1", TEXT)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("name", ["mood@", "mood@0", "mood@two", "mood@1@2", "@1", "Mood@1"])
def test_what_is_no_version_is_refused(name) -> None:
    with pytest.raises(InvalidName):
        by_name(name)


def test_a_pin_of_another_task_is_a_conflict(live) -> None:
    with pytest.raises(Conflict, match="serves the task 'sentiment'"):
        by_name("mood@2", "qa")(live.runtime.router.routes)


def test_the_previous_version_answers_only_while_it_is_resident(live) -> None:
    table = live.base_worker.slots
    previous = live.runtime.router.routes.by_name["mood"].deployment.previous
    table.drain(previous.sha256)
    with pytest.raises(
        VersionUnavailable, match=r"not resident now\. Available: taste@2 \(stable\), taste@3"
    ):
        live.ask("mood@1", TEXT)


def test_an_evicted_stable_version_is_loaded_for_its_pin(live) -> None:
    live.base_worker.slots.drain(live.runtime.router.routes.by_name["mood"].version.sha256)
    assert live.ask("mood@2", TEXT).version == "taste@2"


def test_a_shadow_answers_its_pin_alone(live, watching) -> None:
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="taste@3", shadow=True, by="t"))
    assert live.ask("mood@3", TEXT).version == "taste@3"
    assert live.ask("mood@2", TEXT).version == "taste@2"
    assert live.leases() == 0
    assert watching.seen == []


def test_pinned_calls_are_not_counted_for_a_trial(live, watching) -> None:
    for name in ("mood@2", "mood@3", "taste@3"):
        live.ask(name, TEXT)
    assert watching.seen == []
    live.ask("mood", TEXT)
    assert [seen.track for seen in watching.seen] == [Track.CANARY]


def test_a_guarded_canary_that_is_pinned_runs_alone(live) -> None:
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="taste@3", canary=50.0, guard={"agreement": 0.9}, by="t"))

    async def leases() -> tuple[int, Track]:
        with await live.runtime.router.admit(by_name("mood@3")) as admission:
            return live.leases(), admission.track

    assert asyncio.run_coroutine_threadsafe(leases(), live.loop).result(10) == (1, Track.PINNED)


def test_pins_change_neither_the_draw_nor_the_version_of_a_key(live) -> None:
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="taste@3", canary=50.0, by="t"))

    async def tracks(*pins: str) -> list[Track]:
        router = Router(live.runtime._ready().residency, draw=random.Random(4).random)
        router.publish(live.runtime.router.routes)
        found = []
        for number in range(40):
            for pin in pins:
                with await router.admit(by_name(pin), f"user-{number}") as admission:
                    assert admission.track is Track.PINNED
            for key in ("", f"user-{number}"):
                with await router.admit(by_name("mood"), key) as admission:
                    found.append(admission.track)
        return found

    alone, among = (
        asyncio.run_coroutine_threadsafe(tracks(*pins), live.loop).result(30)
        for pins in ((), ("mood@2", "mood@3"))
    )
    assert alone == among
    assert set(alone) == {Track.STABLE, Track.CANARY}
