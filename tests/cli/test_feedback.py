"""`hub feedback`: accuracy by version, and labelled answers as a file that recipes read unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.api import HeadKind
from hub.cli.main import app
from hub.config import load_settings
from hub.data.examples import load_examples
from hub.errors import BadData, BadRequest, Conflict, NotFound
from hub.recipe.recipe import load_recipe
from hub.registry.host import Registry
from hub.store.catalog.feedback import Answers, StoredAnswer
from hub.store.change import Deploy

KINDS = {
    "qa": HeadKind.SPAN,
    "extraction": HeadKind.TOKEN,
    "translation": HeadKind.GENERATE,
    "generation": HeadKind.GENERATE,
}


def hub(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*args: str) -> Exception:
    error = CliRunner().invoke(app, list(args)).exception
    assert isinstance(error, Exception)
    return error


@pytest.fixture
def answered(fake_home) -> Callable[..., None]:
    """Keep an answer of a version in the deployment `desk`, and its label."""
    number = iter(range(1000))

    def keep(version, request: dict[str, Any] | None, label: Any, correct: bool = True) -> None:
        id = f"r{next(number)}"
        text = None if request is None else json.dumps(request)
        answers = Answers(fake_home.store.catalog)
        answers.keep(
            [StoredAnswer(id, "desk", str(version.ref), version.sha256, datetime.now(UTC), "{}", text)]
        )
        if label is not None:
            answers.label(id, label, lambda response, given: correct)

    return keep


@pytest.fixture
def desk(fake_home) -> Callable[[str], Any]:
    def build(task: str = "sentiment") -> Any:
        version = fake_home.add("desk", seed=1, task=task, kind=KINDS.get(task, HeadKind.SEQUENCE))
        fake_home.store.deploy("desk", Deploy(version=version.ref, by="t"))
        return version

    return build


def test_versions_are_shown_side_by_side_with_wilsons_interval(fake_home, desk, answered) -> None:
    stable = desk()
    canary = fake_home.add("desk", seed=2)
    fake_home.store.deploy("desk", Deploy(version=canary.ref, canary=10, by="t"))
    for right in (True,) * 8 + (False,) * 2:
        answered(stable, None, "positive", right)
    answered(canary, None, "positive", False)
    answered(canary, None, None)
    text = hub("feedback", "show", "desk")
    first, second = text.splitlines()[1:3]
    assert first.split() == ["desk", "desk@1", "stable", "10", "10", "0.800", "0.490", "to", "0.943"]
    assert second.split() == ["desk", "desk@2", "canary", "2", "1", "0.000", "0.000", "to", "0.793"]
    result = json.loads(hub("feedback", "show", "--json"))
    assert [(one["role"], one["labelled"], one["correct"]) for one in result] == [
        ("stable", 10, 8),
        ("canary", 1, 0),
    ]


def test_without_answers_it_names_the_setting_and_an_unknown_name_is_an_error(desk) -> None:
    desk()
    assert "No answers are kept for desk" in hub("feedback", "show", "desk")
    assert "feedback.keep" in hub("feedback", "show")
    assert isinstance(refuse("feedback", "show", "dask"), NotFound)
    assert isinstance(refuse("feedback", "clear", "dask", "--yes"), NotFound)


FILM = {"text": 'A "warm",\nfunny film.'}
TASKS = {
    "sentiment": [(FILM, "positive", {"text": FILM["text"], "label": "positive"})],
    "classification": [
        (
            {"text": "a", "text_pair": "b", "top_k": 2},
            "sport",
            {"text": "a", "text_pair": "b", "label": "sport", "labels": None},
        ),
        (
            {"text": "a", "text_pair": None, "top_k": None},
            ["sport"],
            {"text": "a", "text_pair": None, "label": "sport", "labels": None},
        ),
    ],
    "translation": [
        (
            {"text": "Two dogs.", "source_language": "en", "target_language": "fr"},
            "Deux chiens.",
            {
                "source": "Two dogs.",
                "target": "Deux chiens.",
                "source_language": "en",
                "target_language": "fr",
            },
        ),
        (
            {"text": "Two cats."},
            {"translation": "Deux chats."},
            {
                "source": "Two cats.",
                "target": "Deux chats.",
                "source_language": None,
                "target_language": None,
            },
        ),
    ],
    "generation": [
        (
            {"prompt": "A river?", "temperature": 0.5, "stop": ["\n"]},
            label,
            {"prompt": "A river?", "completion": "Rhine", "system": None, "messages": None},
        )
        for label in ("Rhine", {"text": "Rhine"}, {"completion": "Rhine"})
    ]
    + [
        (
            {"messages": [{"role": "user", "content": "A river?"}]},
            "Rhine",
            {
                "prompt": None,
                "completion": "Rhine",
                "system": None,
                "messages": ({"role": "user", "content": "A river?"},),
            },
        )
    ],
    "qa": [
        (
            {"question": "Who saw it?", "context": "Then Ann saw it.", "top_k": 1},
            label,
            {"question": "Who saw it?", "context": "Then Ann saw it.", "answers": answers},
        )
        for label, answers in (
            ("Ann", ({"text": "Ann", "answer_start": 5},)),
            (["Ann", "nobody"], ({"text": "Ann", "answer_start": 5},)),
            ({"answer": "Ann"}, ({"text": "Ann", "answer_start": 5},)),
            ("", ()),
            ([], ()),
            ({"no_answer": True}, ()),
        )
    ],
    "extraction": [
        (
            {"text": "Ada in Oslo.", "aggregation": None},
            {"entities": [{"start": 7, "end": 11, key: "LOC"}]},
            {
                "text": "Ada in Oslo.",
                "entities": ({"start": 7, "end": 11, "label": "LOC"},),
                "tokens": None,
                "tags": None,
            },
        )
        for key in ("label", "entity_group")
    ],
}


def read(task: str, file: Path) -> list[dict[str, Any]]:
    """Load a file as `hub train` does, by a recipe that names nothing but the task and the file."""
    recipe = file.with_name("recipe.yaml")
    recipe.write_text(f"task: {task}\ndata: {file.name}\n")
    loaded = load_examples(
        load_recipe(recipe), "source", Registry.of(load_settings()).task(task).task, file.parent / "cache"
    )
    assert loaded.invalid == []
    return [dict(item.example) for item in loaded.items]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("task", TASKS)
def test_an_exported_file_is_read_by_a_recipe_as_it_is(task, suffix, desk, answered, tmp_path) -> None:
    version, out = desk(task), tmp_path / f"feedback{suffix}"
    for request, label, _ in TASKS[task]:
        answered(version, request, label)
    assert f"Wrote {len(TASKS[task])} rows" in hub("feedback", "export", "desk", "-o", str(out))
    assert read(task, out) == [expected for *_, expected in TASKS[task]]


def test_where_several_labels_may_be_right_all_rows_have_sets_of_them(desk, answered, tmp_path) -> None:
    version, out = desk("classification"), tmp_path / "feedback.jsonl"
    for label in (["a", "b"], "a", []):
        answered(version, {"text": "x"}, label)
    hub("feedback", "export", "desk", "-o", str(out))
    assert [row["labels"] for row in read("classification", out)] == [("a", "b"), ("a",), ()]
    out = out.with_suffix(".csv")
    result = json.loads(hub("feedback", "export", "desk", "-o", str(out), "--json"))
    assert [row["labels"] for row in read("classification", out)] == [("a", "b"), ("a",)]
    assert "needs a .jsonl file" in result["filtered"][0]["reason"]


def test_the_request_and_the_label_are_in_the_file(desk, answered, tmp_path) -> None:
    answered(desk("translation"), {"text": "Two dogs."}, "Deux chiens.")
    hub("feedback", "export", "desk", "-o", str(tmp_path / "out.jsonl"))
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "text": "Two dogs.",
        "label": "Deux chiens.",
        "source": "Two dogs.",
        "target": "Deux chiens.",
    }


def test_answers_that_make_no_row_are_filtered_and_listed(desk, answered, tmp_path) -> None:
    version, out = desk("qa"), tmp_path / "out.jsonl"
    asked = {"question": "Who?", "context": "Ann saw it."}
    answered(version, asked, "Ann")
    answered(version, asked, "Bob")
    answered(version, asked, {"who": "Ann", "what": "it"})
    answered(version, None, "Ann")
    answered(version, asked, None)
    result = json.loads(hub("feedback", "export", "desk", "-o", str(out), "--json"))
    assert result["rows"] == 1
    assert [one["reason"] for one in result["filtered"]] == [
        "its label does not occur in the text of the request",
        "its label has none of the fields that the task is trained on",
        "it was kept without its request",
    ]


def test_an_export_without_texts_labels_or_a_known_format_is_refused(desk, answered, tmp_path) -> None:
    version = desk()
    out = tmp_path / "out.jsonl"
    nothing = refuse("feedback", "export", "desk", "-o", str(out))
    assert isinstance(nothing, BadData) and "POST /v1/feedback" in str(nothing)
    answered(version, None, "positive")
    without = refuse("feedback", "export", "desk", "-o", str(out))
    assert isinstance(without, Conflict) and "feedback.keep to 'texts'" in str(without)
    answered(version, FILM, {"polarity": 1})
    useless = refuse("feedback", "export", "desk", "-o", str(out))
    assert isinstance(useless, BadData) and "None of the 2 labelled answers" in str(useless)
    answered(version, FILM, "positive")
    assert isinstance(refuse("feedback", "export", "desk", "-o", str(tmp_path / "out.txt")), BadRequest)
    assert isinstance(refuse("feedback", "export", "dask", "-o", str(out)), NotFound)
    assert not out.exists()
    assert list(tmp_path.glob(".out*")) == []


def test_clearing_asks_first_and_prints_the_count(desk, answered) -> None:
    version = desk()
    answered(version, FILM, "positive"), answered(version, FILM, None)
    assert isinstance(refuse("feedback", "clear", "desk", "--json"), BadRequest)
    assert CliRunner().invoke(app, ["feedback", "clear", "desk"], input="n\n").exit_code == 1
    assert json.loads(hub("feedback", "clear", "desk", "--yes", "--json")) == {
        "deployment": "desk",
        "removed": 2,
    }
    assert "Deleted 0 answers" in hub("feedback", "clear", "-y")
