"""`hub recipe`: the schema of recipes, and a recipe written for a data file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.data.profile.suggest_recipe import as_yaml
from hub.errors import HubError
from hub.recipe.by_rows import TrainingRows
from hub.recipe.recipe import load_recipe
from hub.recipe.schema import recipe_schema
from tests.support.tiny import tiny_encoder


def hub_recipe(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["recipe", *map(str, arguments)])


def test_the_schema_is_printed_or_written(tmp_path: Path) -> None:
    shown = hub_recipe("schema")
    assert json.loads(shown.stdout) == recipe_schema()
    assert hub_recipe("schema", "-o", tmp_path / "recipe.schema.json").exit_code == 0
    assert json.loads((tmp_path / "recipe.schema.json").read_text()) == recipe_schema()


def rows(*lines: str) -> str:
    return "\n".join(lines) + "\n"


THINGS = [(thing, place) for thing in ("film", "book", "food") for place in ("paris", "london", "rome")]
REVIEWS = [
    (f"the {thing} of {place} is {word}", label)
    for thing, place in THINGS
    for word, label in (("good", "positive"), ("bad", "negative"), ("fine", "positive"))
]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with reviews in columns that the task does not name so."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{number};{text};{label}" for number, (text, label) in enumerate(REVIEWS)]
    (tmp_path / "reviews.csv").write_text(rows("id;verbatim;mood", *lines))
    return tmp_path


def refusal(*arguments: object) -> str:
    error = hub_recipe(*arguments).exception
    assert isinstance(error, HubError), error
    return str(error)


def test_columns_are_found_by_what_they_hold(workplace: Path) -> None:
    made = hub_recipe("new", "sentiment", "reviews.csv")
    assert made.exit_code == 0, made.exception
    assert "hub train adapters/reviews" in made.stdout
    recipe = load_recipe(workplace / "adapters" / "reviews")
    assert recipe.name == "reviews"
    assert recipe.data.columns == {"text": "verbatim", "label": "mood"}
    assert recipe.data.delimiter == ";"
    assert recipe.data.source[0].source == "../../reviews.csv"
    assert recipe.max_length == 32
    assert "positive 18, negative 9" in (workplace / "adapters/reviews/recipe.yaml").read_text()


def test_the_recipe_trains_as_it_is(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tiny_encoder(tmp_path_factory.mktemp("base") / "encoder").path
    Bases(find_home()).pull(str(base), "tiny")
    assert hub_recipe("new", "sentiment", "reviews.csv", "--base", "tiny", "-o", "demo").exit_code == 0
    trained = CliRunner().invoke(app, ["train", "demo", "--set", "train.max_steps=2"])
    assert trained.exit_code == 0, trained.exception
    assert "Stored demo@1" in trained.stdout


def test_few_rows_with_one_of_two_labels_each_are_left_to_few_shot_training(workplace: Path) -> None:
    assert hub_recipe("new", "sentiment", "reviews.csv", "-o", "demo").exit_code == 0
    assert (
        "training rows: 40 steps of few-shot in batches of 32."
        in (workplace / "demo/recipe.yaml").read_text()
    )
    recipe = load_recipe(workplace / "demo")
    few = recipe.settled(TrainingRows(len(REVIEWS), "bert", classes=2))
    assert (few.method.type, few.train.max_steps, few.train.batch_size) == ("few-shot", 40, 32)


def test_few_rows_with_several_labels_or_one_of_three_are_left_to_ia3(workplace: Path) -> None:
    lines = [json.dumps({"text": text, "labels": [label, "all"]}) for text, label in REVIEWS]
    (workplace / "many.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "classification", "many.jsonl", "-o", "many").exit_code == 0
    assert load_recipe(workplace / "many").options == {"multi_label": True}
    three = [*REVIEWS, ("it is as it is", "neutral"), ("so it is", "neutral")]
    table = rows("text,label", *(f"{text},{label}" for text, label in three))
    (workplace / "three.csv").write_text(table)
    assert hub_recipe("new", "sentiment", "three.csv", "-o", "three").exit_code == 0
    for name in ("many", "three"):
        text = (workplace / name / "recipe.yaml").read_text()
        assert "60 epochs in batches of 16" in text, name


def test_the_number_of_steps_is_that_of_the_base(
    workplace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    distilbert = tiny_encoder(tmp_path_factory.mktemp("base") / "encoder", "distilbert").path
    Bases(find_home()).pull(str(distilbert), "tiny")
    table = rows("text,label", *(f"{text},{number % 3}" for number, (text, _) in enumerate(REVIEWS)))
    (workplace / "three.csv").write_text(table)
    new = hub_recipe("new", "classification", "three.csv", "--base", "tiny", "-o", "three")
    assert new.exit_code == 0
    assert "40 steps of few-shot" in (workplace / "three/recipe.yaml").read_text(), "it has no layers for ia3"


def test_a_recipe_for_some_rows_says_how_they_are_trained_and_leaves_it_to_the_rows(workplace: Path) -> None:
    lines = [f"film {number} is {'good' if number % 2 else 'bad'},{number % 2}" for number in range(1300)]
    (workplace / "many.csv").write_text(rows("text,label", *lines))
    assert hub_recipe("new", "classification", "many.csv", "-o", "many").exit_code == 0
    assert (
        "# For 1,112 training rows: 4 epochs in batches of 16."
        in (workplace / "many/recipe.yaml").read_text()
    )
    train = load_recipe(workplace / "many").train
    assert (train.epochs, train.batch_size, train.learning_rate) == (None, None, None)


def test_a_recipe_is_not_overwritten(workplace: Path) -> None:
    assert hub_recipe("new", "sentiment", "reviews.csv", "-o", "demo").exit_code == 0
    before = (workplace / "demo/recipe.yaml").read_text()
    assert "exists" in refusal("new", "sentiment", "reviews.csv", "-o", "demo")
    assert (workplace / "demo/recipe.yaml").read_text() == before


def test_a_missing_column_is_named_with_those_there_are(workplace: Path) -> None:
    lines = [f"{number},{text}" for number, (text, _) in enumerate(REVIEWS)]
    (workplace / "plain.csv").write_text(rows("id,verbatim", *lines))
    message = refusal("new", "sentiment", "plain.csv")
    assert "'label'" in message
    assert "id, verbatim" in message
    assert "--column label=COLUMN" in message
    assert not (workplace / "adapters").exists()


def test_a_column_can_be_given(workplace: Path) -> None:
    lines = [json.dumps({"a": text, "b": text.upper(), "mood": label}) for text, label in REVIEWS]
    (workplace / "two.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "sentiment", "two.jsonl", "--column", "text=b", "-o", "two").exit_code == 0
    assert load_recipe(workplace / "two").data.columns["text"] == "b"
    assert "no column 'c'" in refusal("new", "sentiment", "two.jsonl", "--column", "text=c", "-o", "x")
    assert "no such field" in refusal("new", "sentiment", "two.jsonl", "--column", "body=a", "-o", "x")
    assert "FIELD=COLUMN" in refusal("new", "sentiment", "two.jsonl", "--column", "text", "-o", "x")


def test_a_file_without_header_or_known_suffix_is_read(workplace: Path) -> None:
    (workplace / "dump.txt").write_text(
        rows(*(f"{n}\t{text}\t{label}" for n, (text, label) in enumerate(REVIEWS)))
    )
    assert hub_recipe("new", "sentiment", "dump.txt", "-o", "dump").exit_code == 0
    recipe = load_recipe(workplace / "dump")
    assert (recipe.data.format, recipe.data.header) == ("tsv", False)
    assert recipe.data.columns == {"text": 1, "label": 2}


def test_tokens_and_tags_are_told_apart(workplace: Path) -> None:
    lines = [
        json.dumps({"words": text.split(), "marks": ["O"] * 3 + ["B-CITY", "O", "O"]}) for text, _ in REVIEWS
    ]
    (workplace / "cities.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "extraction", "cities.jsonl", "-o", "cities").exit_code == 0
    recipe = load_recipe(workplace / "cities")
    assert recipe.data.columns == {"tokens": "words", "tags": "marks"}
    assert recipe.max_length is None


def test_labels_that_yaml_would_read_as_something_else_are_kept(workplace: Path) -> None:
    lines = [json.dumps({"text": text, "yes": label[:3]}) for text, label in REVIEWS]
    (workplace / "odd.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "classification", "odd.jsonl", "-o", "No").exit_code == 0
    recipe = load_recipe(workplace / "No")
    assert recipe.name == "no"
    assert recipe.data.columns == {"text": "text", "label": "yes"}


def test_pairs_of_texts_get_batches_with_many_texts_to_tell_apart(workplace: Path) -> None:
    lines = [json.dumps({"query": f"{text}?", "good": text}) for text, _ in REVIEWS]
    (workplace / "pairs.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "similarity", "pairs.jsonl", "-o", "pairs").exit_code == 0
    assert load_recipe(workplace / "pairs").data.columns == {"query": "query", "good": "good"}
    assert " in batches of 64." in (workplace / "pairs/recipe.yaml").read_text()


def test_rare_labels_weigh_more(workplace: Path) -> None:
    lines = [
        json.dumps({"text": f"{text} {n}", "label": "a" if n else "b"})
        for n in range(7)
        for text, _ in REVIEWS
    ]
    (workplace / "uneven.jsonl").write_text(rows(*lines))
    assert hub_recipe("new", "classification", "uneven.jsonl", "-o", "uneven").exit_code == 0
    assert load_recipe(workplace / "uneven").train.balance == "weights"


def test_translations_are_taken_in_the_order_of_their_columns(workplace: Path) -> None:
    lines = [f"dog {n} is here\tle chien de la ville {n} est ici" for n in range(20)]
    (workplace / "pairs.tsv").write_text(rows("en\tfr", *lines))
    assert hub_recipe("new", "translation", "pairs.tsv", "-o", "pairs").exit_code == 0
    recipe = load_recipe(workplace / "pairs")
    assert recipe.data.columns == {"source": "en", "target": "fr"}
    assert recipe.options == {"source_language": "en", "target_language": "fr"}
    assert recipe.base == "smollm2-135m"


@given(st.text())
def test_any_scalar_is_read_back_as_it_was_written(text: str) -> None:
    assert yaml.safe_load(f"key: {as_yaml(text)}  # a comment") == {"key": text}
