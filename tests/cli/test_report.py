"""`hub report`: the page, data and card that `hub train` writes for a version."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner, Result

from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadRequest, NotFound
from tests.support.homes import FakeHome
from tests.support.plots import plots_are_drawn
from tests.support.trained import Trained, train_once

__all__ = ["plots_are_drawn"]

RECIPE = """
name: demo
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.25}
train: {epochs: 2, batch_size: 8, learning_rate: 1.0e-9, patience: 0}
evaluate: {int8: false, folds: 2}
"""
ONE_RUN = ("--set", "evaluate.folds=null")
HOSTILE = "<script>alert(1)</script>"
ROWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word} {HOSTILE},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot")
    for place in ("paris", "london", "france", "city")
    for word, label in (("good", "positive"), ("bad", "negative"))
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Trained:
    return train_once(tmp_path_factory.mktemp("trained"), tiny_base_folder, RECIPE, ROWS)


@pytest.fixture
def recipe(tmp_path: Path, trained: Trained) -> Path:
    """A folder with a recipe and its rows; demo@1, trained from them, is live."""
    return trained.copy(tmp_path)


def hub(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result


def told(*arguments: object) -> dict[str, Any]:
    result = hub(*arguments, "--json")
    assert result.exit_code == 0, repr(result.exception)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


class Seen(HTMLParser):
    """Notes the elements of a page, and what its attributes would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_a_run_writes_page_data_and_card_that_agree(trained: Trained, recipe: Path) -> None:
    found = told("report", "demo")
    written = Path(trained.answer["report"]).relative_to(trained.home)
    assert find_home() / written == Path(found["page"])
    page, data = Path(found["page"]).read_text(), json.loads(Path(found["data"]).read_text())
    accuracy = trained.answer["metrics"]["accuracy"]
    assert data["evaluation"]["metrics"]["accuracy"] == accuracy
    assert f'<b id="headline">{accuracy:.4f}</b>' in page
    assert len(data["curves"]["loss"]) == 2 * 1
    assert len(data["metrics_cv"]["accuracy"]["folds"]) == 2
    assert "Cross-validation" in page and "Confusion" in page
    assert page.count("<svg xmlns") >= 2, "curves and calibration"
    card = ModelCard(Path(found["card"]).read_text())
    [result] = [one for one in card.data.eval_results if one.metric_type == "accuracy"]
    assert result.metric_value == pytest.approx(accuracy, abs=1e-6)
    assert card.data.library_name == "peft"


def test_texts_are_escaped_in_the_page_and_nowhere_else(recipe: Path, tmp_path: Path) -> None:
    found = told("report", "demo")
    page = Path(found["page"]).read_text()
    seen = Seen()
    seen.feed(page)
    assert "script" not in seen.tags
    assert all(link.startswith("#") for link in seen.loads)
    assert not re.search(r"url\(\s*['\"]?http", page)
    assert "&lt;script&gt;" in page
    assert HOSTILE not in Path(found["card"]).read_text()
    assert HOSTILE not in hub("report", "demo", "--json").stdout


def test_wrong_answers_can_be_omitted(recipe: Path) -> None:
    told("train", recipe, *ONE_RUN, "--set", "name=other", "--set", "report.examples=0")
    found = told("report", "other")
    assert found["report"]["evaluation"]["mistakes"] == []
    assert "the film of" not in Path(found["page"]).read_text() + Path(found["data"]).read_text()


def test_the_gate_is_in_the_report(recipe: Path) -> None:
    hub("train", recipe, "--deploy", *ONE_RUN, "--set", "train.seed=3")
    gate = told("report", "demo@2")["report"]["gate"]
    assert (gate["live"], gate["deployment"]) == ("demo@1", "demo")
    assert gate["comparison"]["rows"] == 10


def test_copies_go_by_their_ending(recipe: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.json", "c.md"):
        assert hub("report", "demo", "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.html").read_text().startswith("<!doctype") or "<html" in (
        tmp_path / "a.html"
    ).read_text()
    assert json.loads((tmp_path / "b.json").read_text())["version"] == "demo@1"
    assert (tmp_path / "c.md").read_text().startswith("---\n")
    assert isinstance(hub("report", "demo", "-o", tmp_path / "d.txt").exception, BadRequest)


def test_a_report_that_cannot_be_written_takes_no_version_away(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(report: object) -> str:
        raise ValueError("no page today")

    monkeypatch.setattr("hub.report.write.page", broken)
    answer = told("train", recipe, *ONE_RUN, "--set", "name=other")
    assert (answer["version"], answer["report"]) == ("other@1", None)
    assert "other@1 is stored, but its report could not be written: no page today" in caplog.text


def test_the_export_has_the_card_and_no_report(recipe: Path, tmp_path: Path) -> None:
    card = Path(told("report", "demo")["card"]).read_text()
    told("adapters", "export", "demo", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == card
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("report")]


def test_a_version_without_a_report_names_the_commands(fake_home: FakeHome) -> None:
    fake_home.add("mood")
    error = hub("report", "mood").exception
    assert isinstance(error, NotFound)
    assert "hub evaluate mood@1 --data FILE" in str(error)
