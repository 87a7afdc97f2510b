"""docs/tasks.md says what the tasks do: its examples are valid, its tables complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hub.recipe.recipe import load_recipe
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
TASKS = (
    "classification",
    "sentiment",
    "translation",
    "generation",
    "summarization",
    "qa",
    "extraction",
    "similarity",
    "image-classification",
)


def task(name: str) -> LoadedTask:
    return Registry.load().task(name)


def blocks(name: str, heading: str) -> list[dict[str, object]]:
    found = re.findall(
        rf"^{heading}[^`]*?:\n\n```json\n(.*?)```", unticked(SECTIONS[name]), flags=re.M | re.S
    )
    return [json.loads(block) for block in found]


def unticked(text: str) -> str:
    """Drop the back quotes of code in a line; fences stay."""
    return re.sub(r"(?<!`)`(?!`)", "", text)


def table(name: str, kind: str) -> dict[str, list[str]]:
    """The rows of the table whose first column is called `kind`, by that column."""
    body = re.search(rf"^\| {kind} \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", unticked(SECTIONS[name]), flags=re.M)
    assert body, f"no table of {kind}s in the section {name}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body[1].splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_the_page_has_a_section_for_each_task() -> None:
    assert tuple(SECTIONS) == TASKS


@pytest.mark.parametrize("name", TASKS)
def test_the_requests_and_responses_are_valid(name: str) -> None:
    requests, responses = blocks(name, "Request"), blocks(name, "Response")
    assert requests
    assert responses
    for request in requests:
        task(name).request.model_validate(request)
    for response in responses:
        assert set(response) == set(task(name).response.model_fields)
        task(name).response.model_validate(response)


def test_the_answers_stand_in_the_context() -> None:
    (request,), (response,) = blocks("qa", "Request"), blocks("qa", "Response")
    context = str(request["context"])
    for answer in task("qa").response.model_validate(response).model_dump()["answers"]:
        assert context[answer["start"] : answer["end"]] == answer["answer"]


def test_the_entities_stand_in_the_text() -> None:
    (request,), (response,) = blocks("extraction", "Request"), blocks("extraction", "Response")
    for entity in task("extraction").response.model_validate(response).model_dump()["entities"]:
        assert str(request["text"])[entity["start"] : entity["end"]] == entity["word"]


@pytest.mark.parametrize("name", TASKS)
def test_the_columns_are_the_tasks(name: str) -> None:
    assert list(table(name, "column")) == [field.name for field in task(name).task.fields]


@pytest.mark.parametrize("name", TASKS)
def test_the_options_and_their_defaults_are_the_tasks(name: str) -> None:
    model = task(name).task.options
    defaults = {
        option: "" if value is None else json.dumps(value)
        for option, value in model().model_dump(mode="json").items()
    }
    assert {option: cells[0] for option, cells in table(name, "option").items()} == defaults


@pytest.mark.parametrize(
    "name", ["classification", "translation", "generation", "summarization", "qa", "extraction", "similarity"]
)
def test_the_longest_row_is_the_tasks(name: str) -> None:
    assert f"({task(name).task.max_length} tokens" in SECTIONS[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_metrics_are_the_tasks(name: str) -> None:
    loaded = task(name)
    response = loaded.response.model_validate(blocks(name, "Response")[0])
    example = {
        "label": "sport",
        "target": "Deux chiens.",
        "completion": "Paris.",
        "summary": "A bridge.",
        "answers": ({"text": "Ada Novak", "answer_start": 27},),
        "text": "Ada Novak moved to Oslo.",
        "entities": ({"start": 0, "end": 9, "label": "PER"},),
        "query": "When?",
        "good": "On Mondays.",
    }
    said = SECTIONS[name][SECTIONS[name].rindex("\nMetrics") :]
    judged = loaded.task.judged([response], [example])
    figures = {name for name in loaded.task.metrics(judged, [example]) if ":" not in name}  # f1:LABEL
    assert set(re.findall(r"`([a-z]\w+)`", said)) - set(loaded.task.options.model_fields) == figures
    assert re.findall(r"\*\*`(\w+)`\*\*", said) == [loaded.task.metric]


@pytest.mark.parametrize("name", TASKS)
def test_the_recipe_in_the_plugins_readme_is_valid(name: str, tmp_path: Path) -> None:
    readme = (ROOT / "plugins" / name / "README.md").read_text(encoding="utf-8")
    first, *more = re.findall(r"```yaml\n(.*?)```", readme, flags=re.S)
    for text in (first, *(first + block for block in more)):
        (tmp_path / "recipe.yaml").write_text(f"name: readme\n{text}")
        recipe = load_recipe(tmp_path)
        assert recipe.task == name
        task(name).task.options.model_validate(recipe.options)
        assert set(recipe.data.columns) <= {field.name for field in task(name).task.fields}


def test_the_recipe_on_real_text_is_valid() -> None:
    recipe = load_recipe(ROOT / "plugins" / "extraction" / "conll2003")
    assert recipe.task == "extraction"
    assert recipe.data.format == "conll"
