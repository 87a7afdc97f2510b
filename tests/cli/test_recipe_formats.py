"""`hub recipe new` writes a recipe that trains, for every format that the docs name and for messy exports."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home, load_settings
from hub.data.dataset import InvalidRows
from hub.errors import BadData
from hub.recipe.recipe import load_recipe
from hub.registry.host import Registry
from hub.store.manifest import Serving
from hub.store.store import Store
from hub.training.plan import make_plan

COUNT = 40
THINGS = ("film", "book", "phone", "food", "plot")
PLACES = ("Oslo", "Graz", "Paris", "Rome")
NAMES = ("Lena", "Ada", "Igor", "Rosa")
MOODS = ("good", "bad")


def text(n: int) -> str:
    return f"the {THINGS[n % 5]} of {PLACES[n % 4]} was {MOODS[n % 2]} on day {n}"


def mood(n: int) -> str:
    return MOODS[n % 2]


def topics(n: int) -> list[str]:
    return [MOODS[n % 2], "food"] if n % 3 == 0 else [MOODS[n % 2]]


def tokens(n: int) -> list[str]:
    return [NAMES[n % 4], "moved", "to", PLACES[(n // 2) % 4], "on", "day", str(n), "."]


TAGS = ["B-PER", "O", "O", "B-LOC", "O", "O", "O", "O"]
NUMBERS = [1, 0, 0, 3, 0, 0, 0, 0]


def spans(n: int, start: str = "start", end: str = "end", label: Callable[[str], Any] = str) -> list[Any]:
    words, found = tokens(n), []
    for index, kind in ((0, "PER"), (3, "LOC")):
        at = len(" ".join([*words[:index], ""]))
        found.append({start: at, end: at + len(words[index]), "label": label(kind)})
    return found


def sentence(n: int) -> str:
    return " ".join(tokens(n))


def delimited(header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return out.getvalue().encode()


def lines(rows: Sequence[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def parquet(columns: dict[str, list[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


EVERY = range(COUNT)
NAN = float("nan")
TEXTS = [text(n) for n in EVERY]
LABEL_STUDIO = [
    {
        "id": n,
        "data": {"text": sentence(n)},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "result": [
                    *(
                        {
                            "id": str(index),
                            "type": "labels",
                            "from_name": "label",
                            "to_name": "text",
                            "value": {"start": span["start"], "end": span["end"], "labels": [span["label"]]},
                        }
                        for index, span in enumerate(spans(n))
                    ),
                    {"type": "relation", "from_id": "0", "to_id": "1", "direction": "right"},
                ]
            },
        ],
    }
    for n in EVERY
]

CLASSIFICATION: dict[str, tuple[str, bytes, set[str]]] = {
    "comma": ("a.csv", delimited(("text", "label"), [(text(n), mood(n)) for n in EVERY]), {"good", "bad"}),
    "tab": (
        "a.tsv",
        delimited(("text", "label"), [(text(n), mood(n)) for n in EVERY], "\t"),
        {"good", "bad"},
    ),
    "gzip": (
        "a.csv.gz",
        gzip.compress(delimited(("text", "label"), [(text(n), mood(n)) for n in EVERY]), mtime=0),
        {"good", "bad"},
    ),
    "semicolon": (
        "a.csv",
        delimited(("text", "label"), [(f"{text(n)}, indeed", mood(n)) for n in EVERY], ";"),
        {"good", "bad"},
    ),
    "empty columns at the end": (
        "a.csv",
        delimited(("v1", "v2", "", "", ""), [(mood(n), text(n), "", "", "") for n in EVERY]),
        {"good", "bad"},
    ),
    "an empty label": (
        "a.csv",
        delimited(("text", "label"), [(text(n), mood(n) if n else "") for n in EVERY]),
        {"good", "bad"},
    ),
    "one label in two Unicode forms": (
        "a.csv",
        delimited(("text", "label"), [(text(n), ("caf\u00e9", "bar", "cafe\u0301")[n % 3]) for n in EVERY]),
        {"caf\u00e9", "bar"},
    ),
    "missing values in JSON": (
        "a.jsonl",
        lines([{"text": text(n), "label": float(n % 2) if n else NAN} for n in EVERY]),
        {"0.0", "1.0"},
    ),
    "missing values in Parquet": (
        "a.parquet",
        parquet({"text": TEXTS, "label": [float(n % 2) if n else NAN for n in EVERY]}),
        {"0.0", "1.0"},
    ),
    "missing values that pandas wrote": (
        "a.csv",
        delimited(("text", "label"), [(text(n), mood(n) if n else "nan") for n in EVERY]),
        {"good", "bad"},
    ),
    "lists of one label": (
        "a.jsonl",
        lines([{"text": text(n), "label": [mood(n)]} for n in EVERY]),
        {"good", "bad"},
    ),
    "a JSON list": (
        "a.json",
        json.dumps([{"text": text(n), "label": mood(n)} for n in EVERY]).encode(),
        {"good", "bad"},
    ),
    "several labels, by comma": (
        "a.csv",
        delimited(("text", "labels"), [(text(n), ",".join(topics(n))) for n in EVERY]),
        {"good", "bad", "food"},
    ),
    "several labels, by bar": (
        "a.csv",
        delimited(("text", "label"), [(text(n), "|".join(topics(n))) for n in EVERY]),
        {"good", "bad", "food"},
    ),
    "several labels, by semicolon and space": (
        "a.csv",
        delimited(("text", "category"), [(text(n), "; ".join(topics(n))) for n in EVERY]),
        {"good", "bad", "food"},
    ),
    "several labels, as JSON": (
        "a.csv",
        delimited(("text", "labels"), [(text(n), json.dumps(topics(n))) for n in EVERY]),
        {"good", "bad", "food"},
    ),
    "several labels, as Python prints them": (
        "a.csv",
        delimited(("text", "labels"), [(text(n), str(topics(n))) for n in EVERY]),
        {"good", "bad", "food"},
    ),
    "several labels, in Parquet": (
        "a.parquet",
        parquet({"text": TEXTS, "topics": [topics(n) for n in EVERY]}),
        {"good", "bad", "food"},
    ),
    "several choices of Label Studio": (
        "a.json",
        json.dumps([{"text": text(n), "topics": {"choices": topics(n)}} for n in EVERY]).encode(),
        {"good", "bad", "food"},
    ),
    "choices of Prodigy": (
        "a.jsonl",
        lines(
            [
                {
                    "text": text(n),
                    "options": [{"id": "good", "text": "Good"}, {"id": "bad", "text": "Bad"}],
                    "accept": [mood(n)],
                    "answer": "accept" if n else "reject",
                }
                for n in EVERY
            ]
        ),
        {"good", "bad"},
    ),
}

EXTRACTION: dict[str, tuple[str, bytes]] = {
    "tokens as JSON": (
        "a.csv",
        delimited(("tokens", "tags"), [(json.dumps(tokens(n)), json.dumps(TAGS)) for n in EVERY]),
    ),
    "tokens as Python prints them": (
        "a.csv",
        delimited(("tokens", "ner_tags"), [(str(tokens(n)), str(TAGS)) for n in EVERY]),
    ),
    "tokens as numpy prints them": (
        "a.csv",
        delimited(
            ("tokens", "tags"),
            [(f"[{' '.join(map(repr, tokens(n)))}]", f"[{' '.join(map(repr, TAGS))}]") for n in EVERY],
        ),
    ),
    "tokens by spaces": (
        "a.csv",
        delimited(("tokens", "tags"), [(" ".join(tokens(n)), " ".join(TAGS)) for n in EVERY]),
    ),
    "CoNLL": (
        "a.conll",
        "\n".join(
            "".join(f"{token} {tag}\n" for token, tag in zip(tokens(n), TAGS, strict=True)) for n in EVERY
        ).encode(),
    ),
    "doccano": (
        "a.jsonl",
        lines(
            [
                {
                    "id": n,
                    "text": sentence(n),
                    "entities": [
                        {"id": index, **span}
                        for index, span in enumerate(spans(n, "start_offset", "end_offset"))
                    ],
                    "relations": [{"id": 0, "from_id": 0, "to_id": 1, "type": "in"}] if n % 2 else [],
                    "Comments": [],
                }
                for n in EVERY
            ]
        ),
    ),
    "doccano without relations": (
        "a.jsonl",
        lines([{"text": sentence(n), "label": [list(span.values()) for span in spans(n)]} for n in EVERY]),
    ),
    "Label Studio": ("a.json", json.dumps(LABEL_STUDIO).encode()),
    "Label Studio, JSON-MIN": (
        "a.json",
        json.dumps(
            [
                {"id": n, "text": sentence(n), "label": [{**s, "labels": [s.pop("label")]} for s in spans(n)]}
                for n in EVERY
            ]
        ).encode(),
    ),
    "Label Studio, CSV": (
        "a.csv",
        delimited(
            ("annotation_id", "id", "label", "text"),
            [
                (n, n, json.dumps([{**s, "labels": [s.pop("label")]} for s in spans(n)]), sentence(n))
                for n in EVERY
            ],
        ),
    ),
    "Prodigy": (
        "a.jsonl",
        lines(
            [
                {
                    "text": sentence(n),
                    "_input_hash": n,
                    "tokens": [{"text": word, "id": index} for index, word in enumerate(tokens(n))],
                    "spans": spans(n),
                    "relations": [{"head": 0, "child": 3, "label": "in"}],
                    "answer": "accept" if n % 9 else "ignore",
                }
                for n in EVERY
            ]
        ),
    ),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.support.tiny import tiny_decoder, tiny_encoder

    folder = tmp_path_factory.mktemp("bases")
    return {
        "encoder": tiny_encoder(folder / "encoder").path,
        "decoder": tiny_decoder(folder / "decoder").path,
    }


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bases: dict[str, Path]):
    """Return a function that writes a file and makes a recipe for it."""
    monkeypatch.chdir(tmp_path)

    def make(task: str, name: str, content: bytes | None, *given: str, base: str = "encoder") -> None:
        Bases(find_home()).pull(str(bases[base]), "tiny")
        if content is not None:
            (tmp_path / name).write_bytes(content)
        new = ("recipe", "new", task, name, "--base", "tiny", "-o", "made", *given)
        done = CliRunner().invoke(app, new)
        assert done.exit_code == 0, done.exception

    return make


@pytest.fixture
def planned(made):
    """Return a function that makes a recipe, tokenizes its rows, and returns what would be stored of them."""

    def plan(*given: Any, **more: Any) -> Serving:
        made(*given, **more)
        recipe, home = load_recipe(Path("made")), find_home()
        found = make_plan(
            recipe,
            registry=Registry.of(load_settings()),
            bases=Bases(home),
            cache=home / "cache",
            invalid=InvalidRows(recipe),
        )
        return found.serving

    return plan


@pytest.fixture
def trained(made):
    """Return a function that makes a recipe, trains it, and returns the labels it stored."""

    def run(*given: Any, **more: Any) -> tuple[str, ...]:
        made(*given, **more)
        steps = ("train.max_steps=1", "train.patience=0", "evaluate.int8=false")
        done = CliRunner().invoke(
            app, ["train", "made", *(word for step in steps for word in ("--set", step))]
        )
        assert done.exit_code == 0, done.exception
        return Store(find_home()).get("made").manifest.serving.labels

    return run


@pytest.mark.parametrize("case", CLASSIFICATION)
def test_labels_are_read_as_meant(planned, case: str) -> None:
    name, content, labels = CLASSIFICATION[case]
    assert set(planned("classification", name, content).labels) == labels


@pytest.mark.parametrize("case", EXTRACTION)
def test_entities_are_read_as_meant(planned, case: str) -> None:
    found = planned("extraction", *EXTRACTION[case]).labels
    assert set(found) == {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}


def test_a_folder_for_each_label(planned, tmp_path: Path) -> None:
    for n in EVERY:
        (tmp_path / "texts" / mood(n)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / mood(n) / f"{n}.txt").write_text(text(n))
    assert set(planned("classification", "texts", None).labels) == {"good", "bad"}


def test_numbers_in_place_of_tags_are_refused_with_a_way_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"tokens": tokens(n), "ner_tags": NUMBERS} for n in EVERY]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    made = CliRunner().invoke(app, ["recipe", "new", "extraction", "a.jsonl"])
    assert isinstance(made.exception, BadData)
    assert "data.labels.rename" in str(made.exception)


def test_numbers_get_the_names_that_a_data_set_stores_for_them(planned, tmp_path: Path) -> None:
    import datasets

    tags = datasets.ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(tags)}
    )
    rows = {"tokens": [tokens(n) for n in EVERY], "ner_tags": [NUMBERS] * COUNT}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    assert set(planned("extraction", "a.parquet", None).labels) == {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}


SQUAD = [
    {
        "context": sentence(n),
        "qas": [
            {"id": str(n), "question": "Who moved?", "answers": [{"text": tokens(n)[0], "answer_start": 0}]}
        ],
    }
    for n in EVERY
]


def test_answers_of_squad_are_learned(trained) -> None:
    content = json.dumps({"data": [{"title": "", "paragraphs": SQUAD}]}).encode()
    assert trained("qa", "a.json", content) == ()


@pytest.mark.parametrize(
    ("task", "file"),
    [("classification", CLASSIFICATION["comma"][:2]), ("extraction", EXTRACTION["CoNLL"])],
)
def test_a_recipe_trains_as_it_was_written(trained, task: str, file: tuple[str, bytes]) -> None:
    assert trained(task, *file) != ()


PO = "".join(f'msgid "the dog {n}"\nmsgstr "le chien {n}"\n\n' for n in EVERY)
TMX = "".join(
    f'<tu><tuv xml:lang="fr"><seg>le chien {n}</seg></tuv><tuv xml:lang="en"><seg>the dog {n}</seg></tuv>'
    "</tu>"
    for n in EVERY
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "en\tfr\n" + "".join(f"the dog {n}\tle chien {n}\n" for n in EVERY)),
        ("a.po", f'msgid ""\nmsgstr ""\n"Language: fr\\n"\n\n{PO}'),
        ("a.tmx", f'<tmx version="1.4"><header srclang="en"/><body>{TMX}</body></tmx>'),
    ],
)
def test_translations(planned, name: str, content: str) -> None:
    settings = planned("translation", name, content.encode(), base="decoder").settings
    assert (settings["source_language"], settings["target_language"]) == ("en", "fr")


def test_a_language_that_no_file_names_can_be_given(trained) -> None:
    pair = ("--option", "source_language=en", "--option", "target_language=fr")
    assert trained("translation", "a.po", PO.encode(), *pair, base="decoder") == ()
