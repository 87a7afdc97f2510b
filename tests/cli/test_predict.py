"""`hub predict` in this process, on the fake engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hub.api import HeadKind
from hub.cli.main import app
from hub.errors import BadData, BadRequest, InvalidText, NotFound, VersionUnavailable
from hub.store.change import Deploy


def hub(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def mood(fake_home):
    """The deployment `mood`, and `reader` of a task that needs two texts."""
    fake_home.store.deploy("mood", Deploy(version=fake_home.add("mood", seed=1).ref, by="t"))
    reader = fake_home.add("reader", seed=2, task="qa", kind=HeadKind.SPAN, labels=())
    fake_home.store.deploy("reader", Deploy(version=reader.ref, by="t"))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_text_goes_into_the_first_text_field() -> None:
    answer = json.loads(hub("predict", "mood", "a fine film", "--json"))
    assert answer["label"] in ("negative", "positive")
    assert f"label: {answer['label']}" in hub("predict", "mood", "a fine film")


def test_an_exact_version_can_be_asked(fake_home) -> None:
    fake_home.store.deploy("mood", Deploy(version=fake_home.add("mood", seed=9).ref, canary=0.0, by="t"))
    stable, first, second = (hub("predict", name, "a fine film") for name in ("mood", "mood@1", "mood@2"))
    assert stable == first != second
    with pytest.raises(VersionUnavailable, match=r"mood@1 \(stable\), mood@2 \(canary\)"):
        hub("predict", "mood@3", "a fine film")


def test_an_optional_text_field_counts_as_the_first(fake_home) -> None:
    desk = fake_home.add("desk", seed=3, task="generation", kind=HeadKind.GENERATE, labels=())
    fake_home.store.deploy("desk", Deploy(version=desk.ref, by="t"))
    assert json.loads(hub("predict", "desk", "Once upon a time", "--json"))["completion_tokens"] > 0


def test_all_fields_can_be_given_as_json() -> None:
    asked = {"question": "Who saw it?", "context": "Ann saw the film."}
    assert "answer" in json.loads(hub("predict", "reader", "--input", json.dumps(asked), "--json"))


def test_a_text_is_not_enough_for_a_task_that_needs_two() -> None:
    with pytest.raises(BadRequest, match=r"question, context.*--input"):
        hub("predict", "reader", "who?")


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["mood"], BadRequest),
        (["mood", "a", "--input", "{}"], BadRequest),
        (["mood", "--input", "{"], BadRequest),
        (["mood", "a", "--stream", "--json"], BadRequest),
        (["nothing", "a", "--stream"], NotFound),
        (["mood", "--stream", "--input", '{"text": 7}'], BadRequest),
        (["mood", "--input", "[1]"], BadRequest),
        (["mood", "--input", '{"text": 7}'], BadRequest),
        (["mood", ""], InvalidText),
        (["nothing", "a"], NotFound),
        (["mood", "--file", "in.csv"], BadRequest),
        (["mood", "--file", "missing.csv", "-o", "out.csv"], BadData),
        (["mood", "--file", "in.csv", "-o", "out.xlsx"], BadRequest),
        (["mood", "--file", "in.csv", "-o", "nowhere/out.csv"], BadRequest),
        (["mood", "--file", "in.csv", "-o", "out.csv", "--column", "text"], BadRequest),
    ],
)
def test_what_cannot_be_asked_is_refused(here, args, kind) -> None:
    (here / "in.csv").write_text("text\na\n")
    with pytest.raises(kind):
        hub("predict", *args)
    assert sorted(path.name for path in here.iterdir() if path.suffix != "") == ["in.csv"]


ROWS = [{"id": str(number), "text": f"film {number}"} for number in range(150)]


def write_rows(path: Path) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif path.suffix == ".parquet":
        import pyarrow as pa

        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text"], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)


def read_rows(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize(
    ("source", "target"), [("in.csv", "out.parquet"), ("in.parquet", "out.jsonl"), ("in.jsonl", "out.tsv")]
)
def test_a_file_is_answered_row_by_row_in_order(here, source, target) -> None:
    write_rows(here / source)
    result = json.loads(hub("predict", "mood", "--file", source, "-o", target, "--json"))
    assert (result["answered"], result["failed"]) == (150, 0)
    written = read_rows(here / target)
    assert [row["id"] for row in written] == [row["id"] for row in ROWS]
    alone = json.loads(hub("predict", "mood", "film 77", "--json"))
    assert float(str(written[77]["score"])) == pytest.approx(alone["score"])
    assert written[77]["label"] == alone["label"]
    assert len({str(row["score"]) for row in written}) == 150


def test_input_columns_keep_their_names(here) -> None:
    (here / "in.csv").write_text("text,label\na film,gold\n")
    hub("predict", "mood", "--file", "in.csv", "-o", "out.csv")
    (row,) = read_rows(here / "out.csv")
    assert row["label"] == "gold"
    assert row["predicted_label"] in ("negative", "positive")


def test_columns_of_other_names_are_mapped(here) -> None:
    (here / "in.csv").write_text("review\na film\n")
    hub("predict", "mood", "--file", "in.csv", "-o", "out.csv", "--column", "text=review")
    (row,) = read_rows(here / "out.csv")
    assert row["review"] == "a film"
    assert row["label"]


def test_bad_rows_are_named_counted_and_kept(here) -> None:
    (here / "in.csv").write_bytes(b"id,text\n1,good\n2,\n3,caf\xe9\n4,too,many\n5,fine\n")
    outcome = json.loads(hub("predict", "mood", "--file", "in.csv", "-o", "out.csv", "--json"))
    assert (outcome["answered"], outcome["failed"]) == (2, 3)
    assert [failure["line"] for failure in outcome["failures"]] == [3, 4, 5]
    rows = read_rows(here / "out.csv")
    assert [bool(row["label"]) for row in rows] == [True, False, False, False, True]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    result = CliRunner().invoke(app, ["predict", "mood", "--file", "in.csv", "-o", "out.csv"])
    assert "2 rows answered, 3 failed" in result.output
    assert "line 4" in result.output


def test_a_file_with_nothing_to_ask_leaves_no_output(here) -> None:
    (here / "in.csv").write_text("review\na film\n")
    with pytest.raises(BadData, match="Line 2: text: Field required"):
        hub("predict", "mood", "--file", "in.csv", "-o", "out.csv")
    assert not (here / "out.csv").exists()


def test_numbers_in_cells_become_numbers(here) -> None:
    (here / "in.csv").write_text("question,context,top_k\nWho?,Ann saw it.,2\nWho?,Ann saw it.,\n")
    result = json.loads(hub("predict", "reader", "--file", "in.csv", "-o", "out.jsonl", "--json"))
    assert result["failed"] == 0


def test_a_call_that_is_too_much_is_split(here, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__ITEMS", "10")
    write_rows(here / "in.csv")
    result = json.loads(hub("predict", "mood", "--file", "in.csv", "-o", "out.csv", "--json"))
    assert result["answered"] == 150


def test_a_text_is_printed_piece_by_piece_with_its_counts(fake_home, monkeypatch) -> None:
    added = fake_home.add("desk", task="translation", kind=HeadKind.GENERATE, labels=())
    fake_home.store.deploy("desk", Deploy(version=added.ref))
    request = '{"text": "a film", "source_language": "en", "target_language": "fr"}'
    whole = json.loads(hub("predict", "desk", "--input", request, "--json"))["translation"]
    text, counts = hub("predict", "desk", "--input", request, "--stream").splitlines()
    assert text == whole
    assert counts == f"{len(whole.split())} tokens, length"


def test_the_answer_of_a_task_that_generates_no_text_is_shown_whole(here) -> None:
    assert hub("predict", "mood", "a film", "--stream") == hub("predict", "mood", "a film")
