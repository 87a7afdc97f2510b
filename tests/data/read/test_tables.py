"""Every format gives its rows with the line they stand on; what is no row is told, not dropped."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.kinds.reader import InvalidRow, RawRow, Table
from hub.data.read.tables import open_table
from hub.errors import BadData
from hub.recipe.recipe import Data


def opened(name: str, content: bytes, **settings: Any) -> Table:
    return open_table(name, io.BytesIO(content), Data.model_validate({"source": name, **settings}))


def rows(name: str, content: bytes, **settings: Any) -> list[RawRow | InvalidRow]:
    return list(opened(name, content, **settings).rows)


def test_csv_rows_carry_the_line_they_start_on() -> None:
    content = b'text,label\r\n"two\r\nlines",a\r\n\r\nlast,b\r\n'
    assert rows("a.csv", content) == [
        RawRow(2, {"text": "two\r\nlines", "label": "a"}),
        RawRow(5, {"text": "last", "label": "b"}),
    ]


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    assert opened("a.csv", b"\xef\xbb\xbftext,label\n").columns == ("text", "label")


def test_rows_with_too_few_or_many_cells_are_bad() -> None:
    assert rows("a.csv", b"text,label\none\none,two,three\ngood,a\n") == [
        InvalidRow(2, "has 1 cells where the header has 2"),
        InvalidRow(3, "has 3 cells where the header has 2"),
        RawRow(4, {"text": "good", "label": "a"}),
    ]


def test_quotes_mean_nothing_in_tsv_unless_asked_for() -> None:
    content = b'text\tlabel\n"so said" he\ta\n"x\ty"\n'
    first, second = rows("a.tsv", content)
    assert first == RawRow(2, {"text": '"so said" he', "label": "a"})
    assert second == RawRow(3, {"text": '"x', "label": 'y"'})
    assert rows("a.tsv", b'text\tlabel\n"x\ty"\ta\n', quotes=True) == [
        RawRow(2, {"text": "x\ty", "label": "a"})
    ]


def test_a_file_without_a_header_has_numbered_columns() -> None:
    table = opened("a.txt", b"1;good\n2;bad\n3\n", format="csv", delimiter=";", header=False)
    assert table.columns == (0, 1)
    assert list(table.rows) == [
        RawRow(1, {0: "1", 1: "good"}),
        RawRow(2, {0: "2", 1: "bad"}),
        InvalidRow(3, "has 1 cells where the first row has 2"),
    ]


def test_a_header_of_nothing_is_told() -> None:
    with pytest.raises(BadData, match="has no header line"):
        opened("a.csv", b",\n1,2\n")


def test_a_column_named_twice_is_told() -> None:
    with pytest.raises(BadData, match="the header has column 'text' twice"):
        opened("a.csv", b"text,text\n")


def test_only_cr_and_lf_end_a_line() -> None:
    inside = "a\u2028b\x85c\x1cd\x0be\u2029f"
    line = json.dumps({"text": inside}, ensure_ascii=False)
    assert rows("a.jsonl", f"{line}\r{line}\r\n{line}\n".encode()) == [
        RawRow(n, {"text": inside}) for n in (1, 2, 3)
    ]
    assert rows("a.csv", f"text,label\r{inside},a\rb,c\r".encode())[0] == RawRow(
        2, {"text": inside, "label": "a"}
    )
    assert rows("a.conll", f"{inside} O\r\rb O\r".encode()) == [
        RawRow(n, {"tokens": [token], "tags": ["O"], 0: [token], 1: ["O"]})
        for n, token in ((1, inside), (3, "b"))
    ]


def test_a_token_may_hold_a_no_break_space() -> None:
    [row] = rows("a.conll", " 10\u00a0000   B-NUM\n".encode())
    assert isinstance(row, RawRow)
    assert row.values["tokens"] == ["10\u00a0000"]
    assert rows("a.conll", "10 O\n\u00a0\n".encode()) == [
        InvalidRow(1, "has a line of 2 columns before one of 1")
    ]


def test_json_lines_of_joined_files_are_read() -> None:
    assert rows("a.jsonl", '\ufeff{"a": 1}\n\ufeff{"a": 2}\n'.encode()) == [
        RawRow(1, {"a": 1}),
        RawRow(2, {"a": 2}),
    ]


def test_a_json_value_with_a_nul_is_bad() -> None:
    assert rows("a.jsonl", b'{"a": ["x\\u0000"]}\n{"\\u0000": 1}\n') == [
        InvalidRow(1, "has a NUL character"),
        InvalidRow(2, "has a NUL character"),
    ]


def test_a_column_of_which_the_name_is_no_text_can_be_written() -> None:
    assert rows("a.jsonl", rb'{"caf\u00e9": 1, "cut \ud83d": "\ud83d"}') == [
        RawRow(1, {"caf\u00e9": 1, r"cut \ud83d": "\ud83d"})
    ]


def test_json_lines_tell_what_is_no_object() -> None:
    content = b'\xef\xbb\xbf{"text": "a"}\n\n[1]\n{"text"\n{"text": "\xff"}\n' + b"[" * 100_000
    assert rows("a.jsonl", content) == [
        RawRow(1, {"text": "a"}),
        InvalidRow(3, "is not a JSON object"),
        InvalidRow(4, "is not JSON: Expecting ':' delimiter"),
        InvalidRow(5, "is not UTF-8 text"),
        InvalidRow(6, "is nested too deeply"),
    ]


def test_squad_json_gives_a_row_for_each_question() -> None:
    answer = {"text": "Rollo", "answer_start": 7}
    questions = [
        {"id": "1", "question": "Who?", "answers": [answer]},
        {"id": "2", "question": "When?", "is_impossible": True, "answers": [answer]},
        "odd",
    ]
    content = {"data": [{"title": "T", "paragraphs": [{"context": "Before Rollo", "qas": questions}]}]}
    first, second, third = rows("a.json", json.dumps(content).encode())
    assert isinstance(first, RawRow)
    assert first.values == {
        "id": "1", "title": "T", "context": "Before Rollo", "question": "Who?", "answers": [answer],
    }  # fmt: skip
    assert isinstance(second, RawRow)
    assert second.values["answers"] == []
    assert third == InvalidRow(3, "the question is not an object")


CONLL = b"""\
-DOCSTART- -X- O

# id = 1
EU NNP B-ORG
rejects VBZ O
# NN O

Oslo\tNNP\tB-LOC
New York\tNNP\tB-LOC\r

Oslo NNP
in IN O

\xff NN O

alone
"""


def test_conll_gives_a_row_for_each_sentence() -> None:
    first, second, uneven, binary, alone = rows("a.conll", CONLL)
    assert first == RawRow(
        3,
        {
            "tokens": ["EU", "rejects", "#"],
            "tags": ["B-ORG", "O", "O"],
            0: ["EU", "rejects", "#"],
            1: ["NNP", "VBZ", "NN"],
            2: ["B-ORG", "O", "O"],
        },
    )
    assert isinstance(second, RawRow)
    assert (second.line, second.values["tokens"]) == (8, ["Oslo", "New York"])
    assert second.values["tags"] == ["B-LOC", "B-LOC"]
    assert uneven == InvalidRow(11, "has a line of 2 columns before one of 3")
    assert binary == InvalidRow(14, "is not UTF-8 text")
    assert alone == InvalidRow(16, "has one column; a tag must follow each token")


TOKENS = st.one_of(
    st.sampled_from(["Oslo", "#", "10\u00a0000", "a\u2028b", "\x85", '"', ","]),
    st.text(st.characters(codec="utf-8", exclude_characters=" \t\r\n\v\f\0\ufeff"), min_size=1, max_size=3),
)


@given(st.lists(st.lists(TOKENS, min_size=1, max_size=4), max_size=5), st.sampled_from([" ", "\t"]))
def test_conll_sentences_come_back_as_they_were_written(sentences: list[list[str]], mark: str) -> None:
    text = "\n\n".join("\n".join(f"{token}{mark}O" for token in tokens) for tokens in sentences)
    found = rows("a.conll", text.encode())
    assert [row.values["tokens"] for row in found if isinstance(row, RawRow)] == sentences
    assert len(found) == len(sentences)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(), max_size=2), max_size=5))
def test_json_lines_come_back_as_they_were_written(objects: list[dict[str, str]]) -> None:
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in objects)
    found = rows("a.jsonl", lines.encode(errors="replace"))
    assert len(found) == len(objects)
    for row, value in zip(found, objects, strict=True):
        assert row.values == value if isinstance(row, RawRow) else "\0" in "".join([*value, *value.values()])


def test_a_json_list_gives_its_objects() -> None:
    assert rows("a.json", b'[{"text": "a"}, 3]') == [
        RawRow(1, {"text": "a"}),
        InvalidRow(2, "is not an object"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "settings", "expected"),
    [
        ("a.json", b"{", {}, "is not JSON"),
        ("a.json", b'"\xff"', {}, "1: is not UTF-8 text"),
        ("a.json", b"{}", {}, "is not SQuAD JSON or a list of objects"),
        ("a.json", b"[]", {"format": "squad"}, "is not SQuAD JSON ("),
        ("a.parquet", b"PAR1 no", {}, "is not a Parquet file"),
        ("a.doc", b"", {}, "has an unknown format"),
        ("a.csv", b"\n\n", {}, "is empty"),
        ("a.csv", b"text,l\xe4bel\n", {}, "the header is not UTF-8 text"),
    ],
)
def test_a_file_of_no_known_form_is_refused(
    name: str, content: bytes, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(BadData) as raised:
        opened(name, content, **settings)
    assert str(raised.value).startswith((f"{name}: {expected}", f"{name}:{expected}"))


@pytest.mark.parametrize("levels", [63, 64, 500, 900, 5000])
def test_a_value_of_many_levels_is_bad_wherever_it_is_read(levels: int) -> None:
    [row] = rows("a.jsonl", b'{"a": %b1%b}\n' % (b"[" * levels, b"]" * levels))
    assert isinstance(row, RawRow) if levels < 64 else row == InvalidRow(1, "is nested too deeply")


def parquet(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([*map(pa.array, columns.values())], names=[*columns]), sink)
    return sink.getvalue()


def test_a_parquet_value_that_python_cannot_have_is_told_as_the_files_fault() -> None:
    import pyarrow as pa

    late = pa.array([2**62], pa.timestamp("us"))
    odd = pa.Array.from_buffers(
        pa.utf8(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    for column in (late, odd):
        with pytest.raises(BadData, match=r"^a\.parquet: has a value after row 0 that cannot be read: "):
            rows("a.parquet", parquet({"when": column}))


def test_a_parquet_column_named_twice_is_told() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"]), sink)
    with pytest.raises(BadData, match="has column 'x' twice"):
        opened("a.parquet", sink.getvalue())


@pytest.mark.parametrize("result", [5, {"from_name": "a"}, [{"from_name": "a", "type": ["x"], "value": {}}]])
def test_an_odd_annotation_of_label_studio_is_no_label(result: object) -> None:
    task = {"data": {"text": "one"}, "annotations": [{"result": result}]}
    assert rows("a.json", json.dumps([task]).encode()) == [RawRow(1, {"text": "one"})]


def test_parquet_rows_are_counted_from_one() -> None:
    table = opened("a.parquet", parquet({"text": ["a", None], "label": [1, 2]}))
    assert table.columns == ("text", "label")
    assert list(table.rows) == [RawRow(1, {"text": "a", "label": 1}), RawRow(2, {"text": None, "label": 2})]


def test_a_table_of_too_many_columns_is_refused_at_once() -> None:
    header = ",".join(f"c{n}" for n in range(5000))
    with pytest.raises(BadData, match="5,000 columns, and at most 4,096"):
        open_table("a.csv", io.BytesIO(f"{header}\n".encode()), Data(source="a.csv"))
    row = json.dumps({f"c{n}": n for n in range(5000)})
    [bad] = open_table("a.jsonl", io.BytesIO(row.encode()), Data(source="a.jsonl")).rows
    assert isinstance(bad, InvalidRow)
    assert "5,000 columns" in bad.reason
