"""docs/alerts.yml and docs/grafana.json as Prometheus' own tool reads them, and what the rules do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "docs" / "alerts.yml"
BOARD = ROOT / "docs" / "grafana.json"
RULES = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
CASES = (ROOT / "tests" / "docs" / "alerts_test.yml").read_text(encoding="utf-8")


def panels() -> list[dict[str, Any]]:
    return [
        panel for panel in json.loads(BOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"
    ]


def expressions() -> list[str]:
    """Every expression of both files; Grafana's variables are replaced by values."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    shown = [query.replace("$__rate_interval", "5m").replace("$deployment", ".*") for query in queries]
    return [rule["expr"] for rule in RULES] + shown


def promtool(*words: str | Path) -> str:
    if not (tool := shutil.which("promtool")):
        pytest.skip("promtool is not installed")
    done = subprocess.run([tool, *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid_and_do_what_their_tests_say() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", ALERTS)
    promtool("test", "rules", ROOT / "tests" / "docs" / "alerts_test.yml")


def test_every_query_of_the_dashboard_is_valid(tmp_path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(expressions())]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_every_rule_has_a_test_and_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["alert"] in CASES
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_distinct_ids() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in board}) == len(board)
    cells = [
        (x, y)
        for panel in board
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("query", expressions())
def test_a_ratio_is_never_of_different_groups(query) -> None:
    """Both sides of a division keep the same labels, or one is a scalar: else it has no values."""
    sides = re.findall(r"sum(?: by \(([^)]*)\))? \(", query)
    if " / " in query:
        assert len(set(sides)) <= 1
