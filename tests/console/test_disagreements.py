"""What the versions of a trial answer differently, kept for people to label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from hub.keys import Scopes
from hub.serving.canary.disagreements import MAX_KEPT, Disagreements
from hub.serving.observation import Observation
from hub.store.catalog.keys import ApiKeys
from hub.store.change import Deploy
from tests.console.conftest import Browser
from tests.http.conftest import serve
from tests.support.homes import FakeHome
from tests.support.waiting import until

PAGE = "/console/deployments/mood/disagreements"


@pytest.fixture(scope="module")
def server(home: FakeHome) -> Iterator[TestClient]:
    """A server that keeps texts, whose deployment `mood` has a guarded canary."""
    home.store.deploy("mood", Deploy(version="mood@1", canary=50, guard={"agreement": 0.01}))
    with serve(home.path, HUB_FEEDBACK__KEEP="texts") as client:
        yield client


def seen(number: int, trial: int | None = 1, agreed: bool | None = False) -> Observation:
    deployment: Any = SimpleNamespace(name="mood", trial=trial)
    made: Any = {"track": "canary", "version": None, "request_id": f"r-{number}", "seconds": 0.1}
    return cast(Observation, Observation(deployment=deployment, agreed=agreed, **made))


def test_the_newest_of_a_trial_are_kept() -> None:
    kept = Disagreements()
    for number in range(MAX_KEPT + 5):
        kept.take(seen(number))
    kept.take(seen(90, agreed=True))
    kept.take(seen(91, agreed=None))
    kept.take(seen(92, trial=None))
    found = [one.seen.request_id for one in kept.of("mood", 1)]
    assert found == [f"r-{number}" for number in range(MAX_KEPT + 4, 4, -1)]
    kept.take(seen(93, trial=2))
    assert [one.seen.request_id for one in kept.of("mood", 2)] == ["r-93"]
    assert kept.of("mood", 1) == kept.of("mood", None) == kept.of("other", 1) == []


def test_a_disagreement_is_shown_and_labelled(operator: Browser) -> None:
    def asked() -> bool:
        for number in range(20):
            text = f"<b>film</b> number {number}"
            assert (
                operator.client.post("/v1/deployments/mood/predict", json={"text": text}).status_code == 200
            )
        return bool(operator.json(PAGE)["rows"])

    assert until(asked, 30)
    page = operator.get(PAGE).text
    assert "&lt;b&gt;film&lt;/b&gt; number" in page
    [first, *_] = operator.json(PAGE)["rows"]
    assert {first["version"], first["beside"]} == {"mood@1", "mood@2"}
    label = first["response"]["label"]
    done = operator.send(PAGE, request_id=first["request_id"], label=label)
    assert done.status_code == 303, done.text
    shown = operator.get(done.headers["location"]).text
    assert re.search(rf"Labelled: {first['version']} was right", shown)
    assert until(lambda: "Look at the disagreements" in operator.get("/console/deployments/mood").text, 10)


def test_texts_of_others_are_shown_to_those_who_may_deploy_alone(browser: Browser, home: FakeHome) -> None:
    keys = ApiKeys(home.store.catalog)
    for scopes, status in ((["infer"], 403), (["infer:mood", "deploy:other"], 403), (["deploy:mood"], 200)):
        _, text = keys.create("desk", Scopes.parse(scopes))
        assert until(lambda text=text: browser.sign_in(text).status_code == 303, 10)
        assert browser.get(PAGE).status_code == status, scopes
        if status != 200:
            assert browser.send(PAGE, request_id="r-1", label="positive").status_code == 403
            assert "Look at the disagreements" not in browser.get("/console/deployments/mood").text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"request_id": "r", "label": " "}, 400),
        ({"request_id": "r", "label": "{"}, 400),
        ({"request_id": "r", "label": "[" * 20_000}, 400),
        ({"request_id": "r", "label": '["\\ud800"]'}, 400),
        ({"request_id": "r", "label": '{"polarity": NaN}'}, 400),
        ({"request_id": "<x>", "label": "positive"}, 400),
        ({"request_id": "r-unknown", "label": "positive"}, 404),
        ({"request_id": "r-unknown"}, 400),
    ],
)
def test_what_is_no_label_is_refused(operator: Browser, fields: dict[str, str], status: int) -> None:
    assert operator.send(PAGE, **fields).status_code == status
