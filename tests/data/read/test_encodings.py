"""Files of any text encoding are read right or refused with the encoding they may have."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hub.api.kinds.reader import InvalidRow, RawRow, TableRow
from hub.data.profile.sniff import sniff
from hub.data.read.encodings import as_utf8
from hub.data.read.folders import open_place
from hub.data.read.sources import open_source
from hub.data.read.tables import FileFolder, open_table
from hub.errors import BadData
from hub.recipe.encodings import check_encoding
from hub.recipe.recipe import Data

TEXTS = ["Le café était bon", "Über den Film", "plain words", "à la carte", "déjà vu ailleurs"]
PAIRS = [(text, "good" if n % 2 else "bad") for n, text in enumerate(TEXTS)]
FILES = {
    "a.csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in PAIRS),
    "a.tsv": "text\tlabel\r\n" + "".join(f"{text}\t{label}\r\n" for text, label in PAIRS),
    "a.jsonl": "".join(
        json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in PAIRS
    ),
    "a.json": json.dumps([{"text": text, "label": label} for text, label in PAIRS], ensure_ascii=False),
    "a.conll": "\n\n".join("\n".join(f"{word} O" for word in text.split()) for text in TEXTS),
    "a.po": "\n\n".join(f'msgid "{text}"\nmsgstr "{label}"' for text, label in PAIRS),
}
SHOWN = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def rows(name: str, raw: bytes, **settings: Any) -> list[TableRow]:
    data = Data.model_validate({"source": name, **settings})
    return list(open_table(name, io.BytesIO(raw), data).rows)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", SHOWN)
def test_an_encoding_that_the_file_shows_is_read(name: str, encoding: str) -> None:
    text = FILES[name]
    found = rows(name, text.encode(encoding))
    assert found == rows(name, text.encode())
    assert len(found) == len(PAIRS)
    assert all(isinstance(row, RawRow) for row in found)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["cp1252", "iso-8859-1"])
def test_another_encoding_is_refused_by_name_and_read_when_the_recipe_names_it(
    name: str, encoding: str
) -> None:
    raw = FILES[name].encode(encoding)
    with pytest.raises(
        BadData, match=rf"^{name}:\d+: is not UTF-8 text.* It may be cp1252\. Set data\.encoding"
    ):
        rows(name, raw)
    assert rows(name, raw, encoding=encoding) == rows(name, FILES[name].encode())


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Любой фильм\nдля выбора\nжизни\n"),
        ("koi8-r", "Любой фильм\nдля выбора\nжизни\n"),
        ("shift_jis", "とても良い映画でした\nひどい本\n良い\n"),
        ("gb18030", "很好的电影\n很差的书\n不推荐\n"),
        ("cp1250", "Żółta łódź płynie\nświetny film, polecam\nźle\n"),
    ],
)
def test_no_line_of_another_encoding_is_lost_silently(encoding: str, text: str) -> None:
    raw = f"text\n{text}".encode(encoding)
    with pytest.raises(BadData, match="is not UTF-8 text, nor are 2 other lines"):
        rows("a.csv", raw)
    assert rows("a.csv", raw, encoding=encoding) == rows("a.csv", f"text\n{text}".encode())


def test_single_damaged_rows_are_invalid_one_by_one() -> None:
    assert rows("a.csv", b"text,label\nd\xe9j\xe0,good\nplain,bad\n")[1] == RawRow(
        3, {"text": "plain", "label": "bad"}
    )
    accented = "".join(f"été {n},good\n" for n in range(9)).encode()
    damaged = rows("a.jsonl", b'{"text": "\xff"}\n' * 3 + '{"text": "é"}\n'.encode() * 3)
    assert [isinstance(row, InvalidRow) for row in damaged] == [True] * 3 + [False] * 3
    assert len(rows("a.csv", b"text,label\n" + accented + b"\xff,bad\n" * 8)) == 17


def test_damage_far_into_a_large_file_is_counted_over_all_of_it() -> None:
    plain = b"a line of plain text,good\n" * 20_000
    raw = b"text,label\n" + plain + b"caf\xe9,good\n" * 5
    with pytest.raises(BadData, match=r"^a\.csv:20002: is not UTF-8 text, nor are 4 other lines"):
        rows("a.csv", raw)
    assert len(rows("a.csv", raw + "été,good\n".encode() * 5)) == 20_010


@pytest.mark.parametrize(
    ("raw", "encoding", "expected"),
    [
        ("café,1\n".encode(), "cp1252", "is UTF-8 text, and data.encoding is cp1252"),
        (b"plain,1\n", "utf-16-le", "is UTF-8 text, and data.encoding is utf-16-le"),
        (
            "café,1,long\n".encode("utf-16-le"),
            "utf-16-be",
            "is utf-16-le text, and data.encoding is utf-16-be",
        ),
        ("café,1,long\n".encode("utf-16-le"), "cp1252", "is utf-16-le text, and data.encoding is cp1252"),
        ("一书\n".encode("utf-16-le"), "utf-16", "has no byte order mark"),
        ("it\u2019s\n".encode("cp1252"), "latin-1", "has control characters that iso-8859-1 text never has"),
        (b"one\ntwo\x81\n", "cp1252", "^a.csv:2: cannot be decoded as cp1252"),
        (
            "one\ntwo\n".encode("utf-16")[:-1],
            None,
            "^a.csv:2: cannot be decoded as utf-16-le: truncated data",
        ),
        (b"PK\x03\x04\0\0", None, "is a ZIP archive or an Excel workbook"),
        (gzip.compress(b"text\n", mtime=0), None, "is a gzip file"),
    ],
)
def test_a_wrong_encoding_is_refused(raw: bytes, encoding: str | None, expected: str) -> None:
    with pytest.raises(BadData, match=expected):
        as_utf8("a.csv", io.BytesIO(raw), encoding and check_encoding(encoding)).read()


@given(st.text(), st.sampled_from([*SHOWN[:2], "utf-32"]))
def test_any_text_with_a_byte_order_mark_comes_back(text: str, encoding: str) -> None:
    assume(not text.startswith("\0"))  # the mark of UTF-16-LE and a NUL are the mark of UTF-32-LE
    assert as_utf8("a", io.BytesIO(text.encode(encoding))).read().decode() == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\0")))
def test_any_utf8_comes_back(text: str) -> None:
    raw = f"x{text}".encode()
    assert as_utf8("a", io.BytesIO(raw)).read() == raw


@given(st.binary())
def test_any_bytes_come_back_or_are_refused(raw: bytes) -> None:
    try:
        found = as_utf8("a", io.BytesIO(b"x" + raw)).read()
    except BadData:
        return
    assert found == b"x" + raw or b"\0" in raw


def test_only_encodings_of_text_may_be_named() -> None:
    assert [check_encoding(name) for name in ("latin1", "Windows-1252", "UTF8", "utf-8-sig")] == [
        "iso-8859-1", "cp1252", "utf-8", "utf-8",
    ]  # fmt: skip
    for name in ("rot13", "base64", "idna", "utf-7", "none"):
        with pytest.raises(ValueError, match="is not a known text encoding; use one of: utf-8"):
            Data.model_validate({"source": "a.csv", "encoding": name})


def test_a_mark_goes_before_the_recipe_so_that_a_folder_may_be_mixed() -> None:
    assert rows("a.csv", FILES["a.csv"].encode("utf-8-sig"), encoding="cp1252") == rows(
        "a.csv", FILES["a.csv"].encode()
    )


def test_utf16_in_gzip_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(FILES["a.csv"].encode("utf-16")))
    with open_source("a.csv.gz", tmp_path, tmp_path) as file:
        found = list(open_table(file.name, file.stream, Data.model_validate({"source": "a.csv.gz"})).rows)
    assert found == rows("a.csv", FILES["a.csv"].encode())


def test_a_peek_names_the_encoding_that_a_file_shows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(FILES["a.csv"].replace(",", ";").encode("utf-16"))
    found = sniff("a.csv", tmp_path, tmp_path)
    assert found.settings == {"encoding": "utf-16-le", "delimiter": ";"}
    assert [row.values["text"] for row in found.rows] == TEXTS
    (tmp_path / "b.csv").write_bytes(b"sep=|\ntext|label\na|b\n")
    assert sniff("b.csv", tmp_path, tmp_path).settings == {}


def test_a_peek_names_no_encoding_for_a_mixed_folder(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "a.csv").write_bytes(FILES["a.csv"].encode("utf-16"))
    (tmp_path / "both" / "b.csv").write_bytes(FILES["a.csv"].encode())
    found = sniff("both", tmp_path, tmp_path)
    assert (found.settings, len(found.rows)) == ({}, 10)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., FileFolder]:
    def made(**texts: bytes) -> FileFolder:
        paths = []
        for name, raw in texts.items():
            paths.append(tmp_path / f"{name}.txt")
            paths[-1].write_bytes(raw)
        return FileFolder(tmp_path, tuple(paths), "folder:.txt")

    return made


def text_rows(folder: FileFolder, encoding: str | None = None) -> list[TableRow]:
    with open_place(folder, folder.path, Data(source="unused", encoding=encoding), folder.path) as table:
        return list(table.rows)


def test_text_files_are_read_in_the_encoding_they_show_or_the_recipe_names(folder) -> None:
    text = "Un café, deux cafés\u2028et voilà"
    shown = folder(**{f"t{n}": text.encode(encoding) for n, encoding in enumerate(SHOWN)})
    assert [row.values["text"] for row in text_rows(shown)] == [text] * len(SHOWN)
    western = folder(a=b"caf\xe9", b=b"d\xe9j\xe0", c=b"\xe0 la carte", d=b"plain")
    assert [row.values["text"] for row in text_rows(western, "cp1252")] == [
        "café", "déjà", "à la carte", "plain",
    ]  # fmt: skip
    with pytest.raises(BadData, match=r"a\.txt:1: is not UTF-8 text\. It may be cp1252"):
        text_rows(western)


def test_a_text_file_with_a_nul_is_bad(folder) -> None:
    assert text_rows(folder(a=b"one\ntw\0o")) == [InvalidRow(2, "has a NUL character", "a.txt")]


def test_a_gzip_file_that_is_cut_off_is_named_as_damaged(tmp_path: Path) -> None:
    """The end of the file is beyond the head from which its format is detected."""
    text = "text,label\n" + "".join(f"{'x' * n},{'good' if n % 2 else 'bad'}\n" for n in range(1, 1000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode(), compresslevel=0)[:-200_000])
    with pytest.raises(BadData, match=r"a\.csv\.gz: is damaged"):
        sniff("a.csv.gz", tmp_path, tmp_path)
