"""Requests whose validation runs plugin code get the same answers, from a thread of their task."""

from __future__ import annotations

import pytest

from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_base_folder):
    home = FakeHome(tmp_path_factory.mktemp("asked"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.http.routes.native.runs_plugin_code", lambda model: True)
        with serve(home.path) as client:
            yield client


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/tasks/sentiment", {"text": "a film"}, 200, None),
        ("/v1/tasks/sentiment", {"text": "a film", "deployment": "mood"}, 200, None),
        ("/v1/tasks/sentiment", {"text": "a film", "deployment": None}, 200, None),
        ("/v1/tasks/sentiment", {"text": "a film", "deployment": "other"}, 404, "not_found"),
        ("/v1/tasks/sentiment", {"text": "a film", "deployment": 3}, 400, "bad_request"),
        ("/v1/tasks/sentiment", {"text": "a film", "more": 1}, 400, "bad_request"),
        ("/v1/tasks/sentiment", {"text": " "}, 400, "invalid_text"),
        ("/v1/tasks/sentiment", ["a film"], 400, "bad_request"),
        ("/v1/deployments/mood/predict", {"text": "a film"}, 200, None),
        ("/v1/deployments/mood/predict", {"items": [{"text": "a film"}, {"text": " "}]}, 200, None),
        ("/v1/deployments/mood/predict", {"text": 1}, 400, "bad_request"),
    ],
)
def test_answers_and_errors_are_those_of_other_requests(asked, path, body, status, code) -> None:
    reply = asked.post(path, json=body)
    assert (reply.status_code, reply.json().get("error", {}).get("code")) == (status, code)
