"""An outsider's evening: write a plugin, install it where it was never seen, train with it, call it."""

from __future__ import annotations

import pytest

from tests.support.environment import fresh_environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_scaffolded_plugin_installs_trains_and_answers_over_http(hub_with_minilm, tmp_path) -> None:
    newcomer = type(hub_with_minilm)(hub_with_minilm.home, str(fresh_environment(tmp_path / "venv")))
    newcomer.run("plugins", "new", "urgency", "--dir", str(tmp_path))
    folder = tmp_path / "urgency"

    assert "urgency" not in {plugin["name"] for plugin in newcomer.json("plugins", "list")}
    newcomer.run("plugins", "install", str(folder), "--no-build-isolation")
    assert "urgency" in {plugin["name"] for plugin in newcomer.json("plugins", "list")}
    assert "urgency" not in {plugin["name"] for plugin in hub_with_minilm.json("plugins", "list")}

    newcomer.run("train", str(folder), "--set", "train.epochs=2", "--deploy")
    with newcomer.serving() as client:
        answer = client.post("/v1/tasks/urgency", json={"text": "The site is down, help at once!"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-hub-version"] == "urgency@1"
        assert answer.json()["label"]
        assert "/v1/tasks/urgency" in client.get("/docs.json").json()["paths"]
