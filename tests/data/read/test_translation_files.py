"""PO and TMX files become pairs of texts, with lines; what they mark as unfinished is left out."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.api.kinds.reader import FilteredRow, RawRow, TableRow
from hub.data.examples import load_examples
from hub.data.read import sources
from hub.data.read.translation_files import po_table, tmx_table
from hub.errors import BadData
from hub.recipe.recipe import Recipe
from tests.support.training import Ask

RecipeMaker = Callable[..., Recipe]
PO = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgctxt "menu"
msgid "Open"
msgstr "Ouvrir"

msgid ""
"Two "
"lines"
msgstr "Deux lignes"

#, fuzzy
msgid "Close"
msgstr "Clore ?"

msgid "Untranslated"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d fichier"
msgstr[1] "%d fichiers"

msgid "%d day"
msgid_plural "%d days"
msgstr[0] "a"
msgstr[1] "b"
msgstr[2] "c"

#~ msgid "Old"
#~ msgstr "Vieux"
"""


def po(text: str | bytes) -> list[TableRow]:
    return list(po_table("a.po", io.BytesIO(text if isinstance(text, bytes) else text.encode())).rows)


def pairs(rows: list[TableRow]) -> list[tuple[int, str, str]]:
    return [(row.line, row.values["source"], row.values["target"]) for row in rows if isinstance(row, RawRow)]


def left(rows: list[TableRow]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, FilteredRow)]


def test_translated_messages_are_rows() -> None:
    rows = po(PO)
    assert pairs(rows) == [
        (5, "Open", "Ouvrir"),
        (9, "Two lines", "Deux lignes"),
        (21, "%d file", "%d fichier"),
        (21, "%d files", "%d fichiers"),
    ]
    assert left(rows) == [
        (14, "fuzzy message"),
        (18, "untranslated message"),
        (26, "message with several plural forms"),
        (32, "obsolete message"),
    ]
    assert isinstance(rows[0], RawRow)
    assert rows[0].values["context"] == "menu"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # French: 0 and 1, millions, the others
        ("nplurals=3; plural=(n==0 || n==1) ? 0 : n!=0 && n%1000000==0 ? 1 : 2;", [("a", "x"), ("b", "z")]),
        ("nplurals=2; plural=(n > 1);", [("a", "x"), ("b", "y")]),  # the file has one form more than its rule
        ("nplurals=3; plural=n%10==1 ? 0 : n%10<5 ? 1 : 2;", []),  # Russian, in short
        ("nplurals=4; plural=n==1 ? 0 : 3;", []),  # a form that the message lacks
        ("nplurals=3; plural=1/(n-2);", []),
        ("nplurals=3; plural=__import__('os');", []),
        ("nplurals=3; plural=" + "(" * 2000 + "n", []),
    ],
)
def test_the_rule_in_the_header_says_which_form_is_the_plural(
    rule: str, expected: list[tuple[str, str]]
) -> None:
    header = f'msgid ""\nmsgstr "Plural-Forms: {rule}\\n"\n\n'
    message = 'msgid "a"\nmsgid_plural "b"\nmsgstr[0] "x"\nmsgstr[1] "y"\nmsgstr[2] "z"\n'
    rows = po(header + message)
    assert [(source, target) for _, source, target in pairs(rows)] == expected
    assert bool(left(rows)) == (not expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('msgid "a"\nmsgstr "b"\nnonsense\n', r"^a.po:3: is not a PO file\.$"),
        (b'msgid "a"\nmsgstr "\xe9"\n', r"^a.po:2: is not UTF-8 text\. It may be cp1252\. Set"),
        (
            b'msgid ""\nmsgstr "Content-Type: text/plain; charset=KOI8-R\\n"\n\nmsgid "a"\nmsgstr "\xe9"\n',
            r"^a.po:5: is not UTF-8 text\. It may be koi8-r\.",
        ),
        ("/etc/passwd", r"^a.po:1: is not a PO file\.$"),
    ],
)
def test_what_is_no_po_file_is_told_with_its_line(text: str | bytes, expected: str) -> None:
    with pytest.raises(BadData, match=expected):
        po(text)


def test_separators_of_unicode_do_not_end_a_line_of_a_po_file() -> None:
    text = "one\u2028two\x85three\x0cfour\x1cfive"
    assert pairs(po(f'msgid "{text}"\r\nmsgstr "x"\r\n')) == [(1, text, "x")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "iso-8859-1", "windows-1252"])
def test_tmx_is_read_in_the_encoding_that_it_names(encoding: str) -> None:
    declared = "" if encoding.startswith("utf-16") else f' encoding="{encoding}"'
    unit = '<tu><tuv xml:lang="en"><seg>caf\xe9</seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu>'
    text = HEAD.replace('"1.0"', f'"1.0"{declared}') + f"{unit}</body></tmx>"
    assert pairs(list(tmx_table("a.tmx", io.BytesIO(text.encode(encoding)), None).rows)) == [(4, "café", "b")]


@pytest.mark.parametrize("encoding", ["shift_jis", "no-such-encoding"])
def test_tmx_in_an_encoding_that_xml_cannot_have_here_is_refused(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<tmx version="1.4"></tmx>'
    with pytest.raises(BadData, match=r"^a\.tmx.*: (?:has an encoding that|is not well-formed XML: unk)"):
        list(tmx_table("a.tmx", io.BytesIO(text.encode()), None).rows)


def test_an_empty_po_file_has_no_rows() -> None:
    assert po("") == po("\n \n") == []


@given(st.text('msgidstr "\\\n[]#~,0x', max_size=60))
def test_any_text_is_rows_or_bad_data(text: str) -> None:
    try:
        po(text)
    except BadData as error:
        assert "is not a PO file" in str(error)


HEAD = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
"""
TMX = f"""{HEAD}<tu><tuv xml:lang="en-US"><seg>A <ph>&lt;b></ph>dog<ut>&lt;/b></ut> &amp; more</seg></tuv>
<tuv xml:lang="fr"><seg>Un <hi>chien</hi></seg></tuv></tu>
<tu><tuv lang="EN"><seg>Only English</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Yes</seg></tuv><tuv xml:lang="FR-fr"><seg>Oui</seg></tuv>
<tuv xml:lang="de"><seg>Ja</seg></tuv></tu>
</body></tmx>
"""


def tmx(text: str, languages: tuple[str, str] | None = None) -> list[TableRow]:
    return list(tmx_table("a.tmx", io.BytesIO(text.encode()), languages).rows)


def test_units_are_rows_of_the_two_languages() -> None:
    rows = tmx(TMX, ("en", "fr"))
    assert pairs(rows) == [(4, "A dog & more", "Un chien"), (7, "Yes", "Oui")]
    assert left(rows) == [(6, "unit without the two languages")]
    assert pairs(tmx(TMX, ("de", "fr_FR"))) == [(7, "Ja", "Oui")]
    assert isinstance(rows[0], RawRow)
    assert rows[0].values["fr"] == "Un chien"


def test_without_languages_units_of_two_are_read_from_the_headers() -> None:
    unit = '<tu><tuv xml:lang="fr"><seg>Oui</seg></tuv><tuv xml:lang="en"><seg>Yes</seg></tuv></tu>'
    text = f"{HEAD}{unit}</body></tmx>"
    assert pairs(tmx(text)) == [(4, "Yes", "Oui")]
    with pytest.raises(
        BadData, match=r"no unit has the languages en and another. Available: de, en, en-us, fr"
    ):
        tmx(
            TMX.replace(
                '<tu><tuv xml:lang="en-US">',
                '<tu><tuv xml:lang="de"><seg>x</seg></tuv><tuv xml:lang="en-US">',
            )
        )


def test_languages_that_are_not_there_are_told() -> None:
    with pytest.raises(
        BadData, match=r"no unit has the languages en and it. Available: de, en, en-us, fr, fr-fr"
    ):
        tmx(TMX, ("en", "it"))


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'<!DOCTYPE tmx [<!ENTITY l0 "lol">{LAUGHS}]><tmx><body>&l9;</body></tmx>', ":1: uses an entity"),
        ('<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]><tmx>&x;</tmx>', ":1: uses an entity"),
        ('<!DOCTYPE tmx [<!ENTITY % p SYSTEM "http://a.b/c"> %p;]><tmx/>', ":1: uses an entity"),
        (f"{HEAD}&unknown;</body></tmx>", ":4: uses an entity"),
        ("<html><body/></html>", ":1: is not TMX: its first element is 'html'"),
        (f"{HEAD}<tu>\n</body></tmx>", ":5: is not well-formed XML: mismatched tag"),
        ("", ":1: is not well-formed XML: no element found"),
        ("plain\ntext", ":1: is not well-formed XML: syntax error"),
    ],
)
def test_what_is_no_tmx_or_reaches_outside_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadData, match=f"^a.tmx{expected}"):
        tmx(text)


class Translating:
    """The fields of a translation, without a model."""

    fields = (Field("source", FieldKind.TEXT, ""), Field("target", FieldKind.TEXT, ""))

    def request(self, example: Any) -> Ask:
        return Ask(text=example["source"])


@pytest.mark.parametrize(
    "recipe",
    [
        "data: {source: a.tmx, columns: {source: en, target: fr}}",
        "data: a.tmx\noptions: {source_language: en, target_language: fr}",
    ],
)
def test_columns_or_options_choose_the_languages(
    make_recipe: RecipeMaker, tmp_path: Path, recipe: str
) -> None:
    loaded = load_examples(make_recipe(f"task: t\n{recipe}\n", a_tmx=TMX), "source", Translating(), tmp_path)
    assert [item.example for item in loaded.items] == [
        {"source": "A dog & more", "target": "Un chien"},
        {"source": "Yes", "target": "Oui"},
    ]
    assert [row.reason for row in loaded.filtered] == ["unit without the two languages"]


def test_a_po_file_is_read_by_its_name_and_counts_what_it_leaves_out(
    make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    recipe = make_recipe("task: t\ndata: fr.po.gz\n")
    (tmp_path / "fr.po.gz").write_bytes(gzip.compress(PO.encode()))
    loaded = load_examples(recipe, "source", Translating(), tmp_path)
    assert (len(loaded.items), len(loaded.filtered), loaded.read) == (4, 4, 8)


def test_what_unpacks_as_no_text_does_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_UNCHECKED_BYTES", 1 << 20)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * (8 << 20)))
    (tmp_path / "small.jsonl.gz").write_bytes(gzip.compress(b" " * (1 << 19)))
    with (
        pytest.raises(BadData, match=r"bomb\.jsonl\.gz: unpacks to more than 200 times its size"),
        sources.open_source("bomb.jsonl.gz", tmp_path, tmp_path) as file,
    ):
        file.stream.read()
    with sources.open_source("small.jsonl.gz", tmp_path, tmp_path) as file:
        assert len(file.stream.read()) == 1 << 19
