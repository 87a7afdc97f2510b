"""Which deployment a request means."""

from __future__ import annotations

import pytest

from hub.errors import AmbiguousDeployment, Conflict, NotFound
from hub.serving.routing.routes import by_name, by_task
from hub.store.change import Deploy


@pytest.fixture
def routes(add, start):
    """The routes once the named deployments of `sentiment` are live."""

    def build(*names: str):
        hub = start(slots=8)
        for seed, name in enumerate(names):
            add(name, seed=seed)
            hub.runtime.deploy(name, Deploy(version=name, by="t"))
        return hub.runtime.router.routes

    return build


def test_a_name_means_its_deployment(routes) -> None:
    table = routes("mood", "taste")
    assert by_name("taste")(table).name == "taste"


def test_an_unknown_name_is_answered_with_those_there_are(routes) -> None:
    with pytest.raises(NotFound, match=r"'nope'.*mood, taste"):
        by_name("nope")(routes("mood", "taste"))


def test_a_task_with_one_deployment_means_that_one(routes) -> None:
    assert by_task("sentiment")(routes("mood")).name == "mood"


def test_a_task_with_several_means_the_one_named_like_it(routes) -> None:
    assert by_task("sentiment")(routes("mood", "sentiment")).name == "sentiment"


def test_a_task_with_several_and_none_named_like_it_is_ambiguous(routes) -> None:
    with pytest.raises(AmbiguousDeployment, match="mood, taste"):
        by_task("sentiment")(routes("mood", "taste"))


def test_a_task_without_a_deployment_says_how_to_make_one(routes) -> None:
    with pytest.raises(NotFound, match="hub deploy"):
        by_task("qa")(routes("mood"))


def test_a_deployment_of_another_task_is_a_conflict(routes) -> None:
    with pytest.raises(Conflict, match="serves the task 'sentiment'"):
        by_name("mood", "qa")(routes("mood"))
