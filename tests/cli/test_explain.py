"""`hub explain`, on tiny versions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.api import HeadKind
from hub.cli.main import app
from hub.errors import BadRequest, NotFound
from tests.support.homes import FakeHome, add_version

TEXT = "the <b>food</b> was good"


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments])


def add(
    home: FakeHome,
    folder: Path,
    name: str = "mood",
    task: str = "sentiment",
    head: HeadKind = HeadKind.SEQUENCE,
    labels: tuple[str, ...] = ("negative", "positive"),
) -> None:
    """Store a version that plain PEFT can load."""
    from tests.support.tiny import tiny_adapter

    adapter = tiny_adapter(home.base, folder / name, kind=head, labels=labels)
    add_version(home.store, home.base, name, adapter, task=task, head=head, labels=labels)


def test_json_has_the_scores_of_each_token(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path)
    done = explain("mood", TEXT, "--json", "--target", "positive")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["target"] == "positive" and value["method"] == "gradients"
    assert len(value["tokens"]) == len(value["offsets"]) == len(value["scores"])
    difference = value["score"] - value["baseline_score"]
    assert sum(value["scores"]) == pytest.approx(difference + value["convergence_delta"])


def test_people_see_the_text_and_its_words(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path)
    done = explain("mood@1", TEXT, "--method", "attention")
    assert done.exit_code == 0, done.output
    assert TEXT in done.stdout
    assert "WORD" in done.stdout and "good" in done.stdout.rpartition("WORD")[2]


def test_the_page_holds_the_text_escaped_and_loads_nothing(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path)
    done = explain("mood", TEXT, "--html", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>food" not in page and "&lt;" in page
    assert "http" not in page and "src=" not in page
    assert page.count("<span title=") == page.count("<tr><td>")


def test_other_fields_are_given_by_name(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path, "reader", "qa", HeadKind.SPAN, ())
    texts = ("--field", "context=the food was good", "--method", "attention", "--json")
    value = json.loads(explain("reader", "who", *texts).stdout)
    assert {"question", "context"} <= set(value["fields"])
    missing = explain("reader", "who").exception
    assert isinstance(missing, BadRequest) and "context" in str(missing)


def test_a_field_without_a_value_is_refused(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path)
    assert isinstance(explain("mood", "--field", "text").exception, BadRequest)


def test_generated_text_is_not_explained(fake_home: FakeHome) -> None:
    fake_home.add("mood", task="translation", kind=HeadKind.GENERATE, labels=())
    refused = explain("mood", "hello").exception
    assert isinstance(refused, BadRequest) and "cannot be explained" in str(refused)


def test_an_unknown_label_lists_those_there_are(fake_home: FakeHome, tmp_path: Path) -> None:
    add(fake_home, tmp_path)
    refused = explain("mood", TEXT, "--target", "neutral").exception
    assert isinstance(refused, NotFound) and "negative, positive" in str(refused)


def test_no_log_holds_the_text(fake_home: FakeHome, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(fake_home, tmp_path)
    with caplog.at_level(logging.DEBUG):
        assert explain("mood", "unmistakable food").exit_code == 0
    assert "unmistakable" not in caplog.text
