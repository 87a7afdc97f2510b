"""Rows come from files, from archives inside packages, and from data sets; nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from hub.api.kinds.reader import RawRow
from hub.data.read import sources
from hub.data.read.sources import hub_table, open_source
from hub.errors import BadData, SourceUnavailable


def tar_of(**files: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def read(location: str, folder: Path) -> tuple[str, bytes]:
    with open_source(location, folder, folder / "cache") as file:
        return file.name, file.stream.read()


@pytest.fixture
def cached_package(tmp_path: Path) -> Path:
    """A package that was fetched before: a wheel with a tar file that holds a gzip file."""
    folder = tmp_path / "cache" / "demo-1.0" / "wheel"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "demo-1.0-py3-none-any.whl", "w") as wheel:
        inner = tar_of(rows__plain_csv=b"text,label\n", rows__small_tsv_gz=gzip.compress(b"text\tlabel\n"))
        wheel.writestr("demo/data.tar.gz", inner)
    return tmp_path


def test_a_file_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "Train.CSV").write_bytes(b"text\n")
    assert read("Train.CSV", tmp_path) == ("train.csv", b"text\n")


def test_gzip_is_opened_and_its_name_shortened(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    assert read("a.jsonl.gz", tmp_path) == ("a.jsonl", b"{}")


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("rows/plain.csv", ("plain.csv", b"text,label\n")),
        ("rows/small.tsv.gz", ("small.tsv", b"text\tlabel\n")),
    ],
)
def test_a_file_is_read_out_of_an_archive_in_a_package(
    cached_package: Path, member: str, expected: tuple[str, bytes]
) -> None:
    assert read(f"pypi:demo==1.0:demo/data.tar.gz:{member}", cached_package) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("none.csv", "cannot be read: No such file"),
        ("~nobody-has-this-name/none.csv", "cannot be read: No such file"),
        ("broken.csv.gz", "is damaged"),
        ("cut.csv.gz", "is damaged"),
        ("pypi:demo", "is not pypi:package==version:path"),
        ("pypi:../../etc==1:passwd", "is not pypi:package==version:path"),
        ("pypi:demo==1.0", "is not pypi:package==version:path"),
        ("pypi:demo==1.0:demo/data.tar.gz:", "is not pypi:package==version:path"),
        ("pypi:demo==1.0:demo/data.tar.gz:rows/plain.csv:deeper", "is not a wheel, zip or tar archive"),
    ],
)
def test_what_cannot_be_opened_is_told(cached_package: Path, location: str, expected: str) -> None:
    (cached_package / "broken.csv.gz").write_bytes(b"not gzip at all")
    (cached_package / "cut.csv.gz").write_bytes(gzip.compress(b"x" * 100_000)[:-20])
    with pytest.raises(BadData, match=expected):
        read(location, cached_package)


def test_a_file_that_unpacks_past_the_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 10_000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"x" * 1_000_000))
    with pytest.raises(BadData, match="unpacks to more than"):
        read("bomb.csv.gz", tmp_path)


def test_a_data_set_gives_rows_with_the_names_of_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    rows.to_parquet(tmp_path / "owner" / "reviews" / "test-00000-of-00001.parquet")
    found = hub_table("hf:owner/reviews:test")
    assert found.columns == ("text", "label")
    assert list(found.rows) == [
        RawRow(1, {"text": "a", "label": "good"}),
        RawRow(2, {"text": "b", "label": "bad"}),
    ]
    with pytest.raises(BadData, match="Unknown split"):
        hub_table("hf:owner/reviews:nope")


def test_a_data_set_gives_the_names_of_the_tags_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    names = datasets.ClassLabel(names=["O", "B-LOC"])
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)}
    )
    rows = datasets.Dataset.from_dict({"tokens": [["in", "Oslo"]], "ner_tags": [[0, 1]]}, features=features)
    rows.to_parquet(tmp_path / "owner" / "places" / "train-00000-of-00001.parquet")
    [row] = hub_table("hf:owner/places").rows
    assert row == RawRow(1, {"tokens": ["in", "Oslo"], "ner_tags": ["O", "B-LOC"]})


def test_a_data_set_that_cannot_be_had_is_told() -> None:
    with pytest.raises(SourceUnavailable, match="hf:owner/none: "):
        hub_table("hf:owner/none")
    with pytest.raises(BadData, match="is not hf:dataset"):
        hub_table("hf:a/b/c")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    location = "fifo.csv" if kind == "fifo" else "/dev/zero"
    with pytest.raises(BadData, match="is not a regular file"):
        read(location, tmp_path)


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_more_lines_than_can_be_held_are_refused_before_they_are_read(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr(sources, "MAX_LINES", 10_000)
    data = b"text,label\n" + b"a,b\n" * 100_000
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(BadData, match="more than 10,000 lines"):
        read(name, tmp_path)
    (tmp_path / name).write_bytes(b"text,label\n")
