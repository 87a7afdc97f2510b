"""CSV is read back as it was written; damaged quotes never lose or invent rows without a trace."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.kinds.reader import InvalidRow, RawRow, Table
from hub.data.dataset import InvalidRows, prepare
from hub.data.read.tables import open_table
from hub.errors import BadData
from hub.recipe.recipe import Data
from tests.support.training import Labelling


def opened(content: str | bytes, **settings: Any) -> Table:
    raw = content if isinstance(content, bytes) else content.encode()
    return open_table("a.csv", io.BytesIO(raw), Data.model_validate({"source": "a.csv", **settings}))


def rows(content: str | bytes, **settings: Any) -> list[Any]:
    return list(opened(content, **settings).rows)


def good(found: list[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row.values.values()) for row in found if isinstance(row, RawRow)]


def bad_lines(found: list[Any]) -> list[int]:
    return [row.line for row in found if isinstance(row, InvalidRow)]


def written(table: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label"), **how: Any) -> str:
    sink = io.StringIO()
    csv.writer(sink, **how).writerows([header, *table])
    return sink.getvalue()


LABELLED = [(f"The film of day {n} was long", "good" if n % 2 else "bad") for n in range(60)]
LINES = written(LABELLED, lineterminator="\n").splitlines()


def damaged(**changes: str) -> str:
    """Return the file with some lines replaced; `_7` is line 7."""
    lines = list(LINES)
    for key, line in changes.items():
        lines[int(key.removeprefix("_")) - 1] = line
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "closing",
    [
        'The "best" film,good',  # text follows the quote
        'A screen of 19",good',  # the quote closes the cell
        '"Well, well",bad',  # a quoted cell begins
        'So it is,"good"',
    ],
)
def test_lines_that_a_stray_quote_swallows_are_counted(closing: str) -> None:
    found = rows(damaged(_7='"' + LINES[6], _57=closing))
    assert bad_lines(found) == list(range(7, 58))
    assert good(found) == LABELLED[:5] + LABELLED[56:]


def test_a_run_stops_for_the_lines_that_a_stray_quote_swallows(make_recipe, tmp_path: Path) -> None:
    content = damaged(_7='"' + LINES[6], _57='A screen of 19",good')
    recipe = make_recipe("task: t\ndata: a.csv\n", a_csv=content)
    with pytest.raises(
        BadData, match=r"^51 of 60 rows are invalid.*a\.csv:7: contains lines that look like rows"
    ):
        prepare(recipe, Labelling(), tmp_path / "cache", InvalidRows(recipe))


def test_lines_are_swallowed_beside_quoted_cells() -> None:
    table = [(f"id {n}", f"The film of day {n}", "good" if n % 2 else "bad") for n in range(60)]
    lines = written(table, ("id", "text", "label"), lineterminator="\n").splitlines()
    lines[6], lines[56] = '"a, b","The film,good', 'c,A screen of 19","good, or so"'
    found = rows("\n".join(lines))
    assert bad_lines(found) == list(range(7, 58))


def test_a_few_swallowed_lines_are_found_by_the_labels_in_them() -> None:
    found = rows(damaged(_3='"' + LINES[2], _5='A screen of 19",good'))
    assert bad_lines(found) == [3, 4, 5]
    assert len(good(found)) == 57


def test_a_quote_that_stays_open_is_refused_with_its_line() -> None:
    with pytest.raises(BadData, match=r"^a\.csv:7: the row on this line opens a quote that is never closed"):
        rows(damaged(_7='"' + LINES[6]))


def test_a_cell_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.data.read.delimited._MAX_CELL_CHARS", csv.field_size_limit())
    text = "a line of text\n" * (csv.field_size_limit() // 10)
    with pytest.raises(BadData, match=r"^a\.csv:2: the row on this line has a cell of more than"):
        rows(f'text,label\n"{text}",good\nlast,bad\n')


def test_a_long_text_of_many_lines_is_one_row() -> None:
    text = "A line of text, with commas, and so on\n" * 12_000
    table = [*LABELLED[:30], (text, "good"), *LABELLED[30:]]
    assert good(rows(written(table))) == table


@pytest.mark.parametrize(
    "text",
    [
        "Roses are red,\nViolets are blue,\nSugar is sweet,\nAnd so are you.",
        "red, he said\nblue, she said\nsweet, they said\nso, I say",
        "1,2\n3,4\n5,6\n7,8\n9,10\n11,12",
        "x,y\n" * 20,
        '"a","b"\n' * 8,
        "\n\n\n",
    ],
)
def test_a_text_of_lines_with_delimiters_is_one_row(text: str) -> None:
    table = [*LABELLED[:9], (text, "good"), *LABELLED[9:20]]
    assert good(rows(written(table))) == table
    turned = [(label, text) for text, label in table]
    assert good(rows(written(turned, ("label", "text")))) == turned


def test_the_rest_of_a_broken_cell_is_no_row() -> None:
    found = rows('text,label\nfirst,good\n"He said "hi"\nand then, she left\nfor good",bad\nlast,bad\n')
    assert good(found) == [("first", "good"), ("last", "bad")]
    assert bad_lines(found) == [3, 4, 5]


def test_a_quote_that_lost_its_counterpart_is_bad() -> None:
    assert bad_lines(rows('text,label\nend of a cell",good\n"good, really",bad\n5\' 11" tall,good\n')) == [2]


def test_a_header_with_a_stray_quote_is_refused() -> None:
    with pytest.raises(
        BadData, match=r"^a\.csv:1: the header cannot be read: it has text after the closing quote"
    ):
        rows('"text,label\na "b" c,good\n')
    with pytest.raises(BadData, match=r"^a\.csv:1: the header contains lines that look like rows"):
        rows('"text,label\na,good\nb 19",good\n')


CELLS = st.text(st.sampled_from('ab ,;"\n\r\t\ufeff\x85\u2028\xa0\x1cé'), max_size=20)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_csv_writes_is_read_back_or_counted(table: list[tuple[str, ...]], end: str) -> None:
    """Random delimiters and line breaks can look like swallowed rows; these are counted, not changed."""
    header = ("one", "two", "three")
    text = written(table, header, lineterminator=end, quoting=csv.QUOTE_ALL)
    found = rows(text)
    left = list(table)
    for row in good(found):
        left.remove(row)
    reasons = [row.reason for row in found if isinstance(row, InvalidRow)]
    assert all("look like rows" in reason for reason in reasons)
    assert bool(left) == bool(reasons)


WORDS = st.text(st.sampled_from("ab,;\xa0\u2028é'"), max_size=6)
PROSE = st.lists(
    st.one_of(WORDS, st.sampled_from(['"', 'say "hi"', "end,", "\n", "\r\n", "\n\n"])), max_size=12
)


@given(st.lists(st.tuples(PROSE.map(" , ".join), st.sampled_from(["good", "bad"])), max_size=8))
def test_prose_is_read_back_exactly(table: list[tuple[str, str]]) -> None:
    assert good(rows(written(table))) == table


SENTENCES = st.lists(
    st.sampled_from(
        ["The film", "was long,", "very long.", '"Never again"', "he said\n", "and, 19 inches", "\n"]
    ),
    min_size=1,
    max_size=6,
).map(" ".join)


@given(
    st.lists(st.tuples(SENTENCES, st.sampled_from(["good", "bad"])), min_size=1, max_size=12),
    st.data(),
)
def test_damage_to_quotes_is_never_without_a_trace(table: list[tuple[str, str]], data: st.DataObject) -> None:
    text = written(table, lineterminator="\n")
    quotes = [place for place, character in enumerate(text) if character == '"']
    starts = [place + 1 for place, character in enumerate(text) if character == "\n"][:-1]
    place = data.draw(st.sampled_from(sorted({*quotes, *starts})))
    broken = text[:place] + text[place + 1 :] if text[place] == '"' else text[:place] + '"' + text[place:]
    try:
        found = rows(broken)
    except BadData:
        return
    if good(found) != table:
        assert bad_lines(found)


def test_the_first_line_of_excel_names_the_delimiter() -> None:
    for content in ("sep=;\ntext;label\na, b;good\n", "\ufeffsep=;\r\ntext;label\r\na, b;good\r\n"):
        table = opened(content)
        assert table.columns == ("text", "label")
        assert list(table.rows) == [RawRow(3, {"text": "a, b", "label": "good"})]
    assert rows("sep=;\n1;2\n", header=False) == [RawRow(2, {0: "1", 1: "2"})]
    with pytest.raises(BadData, match=r"its first line names the delimiter ';', and data.delimiter is '\|'"):
        rows("sep=;\ntext;label\n", delimiter="|")


def test_columns_without_a_name_at_the_end_are_left_out() -> None:
    table = opened("v1,v2,,,\ngood,a,,,\nbad,b\ngood,c,,\nbad,d,more,,\nbad\nbad,e,,,,\n")
    assert table.columns == ("v1", "v2")
    assert list(table.rows) == [
        RawRow(2, {"v1": "good", "v2": "a"}),
        RawRow(3, {"v1": "bad", "v2": "b"}),
        RawRow(4, {"v1": "good", "v2": "c"}),
        InvalidRow(5, "has a value in column 3, which has no name"),
        InvalidRow(6, "has 1 cells where the header has 5"),
        InvalidRow(7, "has 6 cells where the header has 5"),
    ]


def test_columns_without_a_name_in_between_have_their_position() -> None:
    table = opened(",text,,label\n0,a,x,good\n")
    assert table.columns == (0, "text", 2, "label")
    assert list(table.rows) == [RawRow(2, {0: "0", "text": "a", 2: "x", "label": "good"})]
    assert opened(",text\n0,a\n").columns == ("", "text")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_in_a_single_column_is_refused(mark: str) -> None:
    content = f"text{mark}label\na, b{mark}good\n"
    with pytest.raises(BadData, match=r"or to ',' if the file has one column"):
        rows(content)
    assert rows(content, delimiter=mark) == [RawRow(2, {"text": "a, b", "label": "good"})]
    assert rows(f"a{mark}b\nc\n", delimiter=",") == [RawRow(2, {f"a{mark}b": "c"})]


def test_joined_files_leave_no_marks_and_no_header_among_the_rows() -> None:
    content = "\ufefftext,label\na,good\n\ufefftext,label\nb,bad\n\ufeffc,good\n"
    assert rows(content) == [
        RawRow(2, {"text": "a", "label": "good"}),
        InvalidRow(3, "repeats the header"),
        RawRow(4, {"text": "b", "label": "bad"}),
        RawRow(5, {"text": "c", "label": "good"}),
    ]


def test_without_a_header_the_first_readable_row_tells_the_columns() -> None:
    assert rows('"a "b",c\nd,e\nf\n', header=False) == [
        InvalidRow(1, "has text after the closing quote of a cell"),
        RawRow(2, {0: "d", 1: "e"}),
        InvalidRow(3, "has 1 cells where the first row has 2"),
    ]


def test_a_row_with_a_nul_is_bad_and_a_header_is_refused() -> None:
    assert rows("text,label\na\0,good\nb,bad\n") == [
        InvalidRow(2, "has a NUL character"),
        RawRow(3, {"text": "b", "label": "bad"}),
    ]
    with pytest.raises(BadData, match="the header has NUL characters"):
        rows("text,la\0bel\na,good\n")
