"""An uploaded file is parsed in a process of its own, and refused with the rows that are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hub.errors import BadData
from hub.jobs.aside import OOM_SCORE
from hub.jobs.check_file import check_file
from hub.jobs.service import format_by_name


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", b"text,label\na,b\nc,d\n", 2),
        ("a.csv", b"text;label\na;b\nc;d\n", 2),
        ("a.csv", b"text|label\na|b\n", 1),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n', 2),
    ],
)
def test_the_rows_of_a_good_file_are_counted(tmp_path: Path, name: str, content: bytes, rows: int) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert check_file(path, "mine") == rows


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "a"}\nSECRET\n', "mine: 1 of 2 rows are invalid: line 2 is not JSON"),
        ("a.jsonl", b"[1]\n" * 30, "line 20 is not a JSON object; and 10 more"),
        ("a.jsonl", b"\n", "mine: has no rows"),
        ("a.parquet", b"SECRET", "mine: is not a Parquet file"),
        ("a.csv", b"text\n\x00a\n", "line 2 has a NUL character"),
    ],
)
def test_a_bad_file_is_refused_with_lines_and_reasons(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        check_file(path, "mine")
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only there")
def test_the_process_that_reads_a_file_is_killed_before_the_server_if_memory_runs_out() -> None:
    code = "import hub.jobs.aside as aside; aside.give_way(); print(open('/proc/self/oom_score_adj').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(OOM_SCORE)


def test_the_ending_of_a_name_decides_the_format() -> None:
    assert [format_by_name(name) for name in ("a.CSV", "upload", "../x/b.ndjson", "c.pq")] == [
        "csv",
        "jsonl",
        "jsonl",
        "parquet",
    ]
    for name in ("a.exe", "a.csv.gz", "a.py"):
        with pytest.raises(BadData, match="is not read"):
            format_by_name(name)
