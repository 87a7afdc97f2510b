"""Formats and URL schemes that a third party reads: the example of docs/plugins/readers.md."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from hub.api import BadData, RawRow
from hub.data.profile.sniff import sniff
from hub.data.read.folders import files_of, open_place
from hub.data.read.tables import open_table
from hub.errors import BadPlugin
from hub.jobs.service import format_by_name
from hub.recipe.recipe import Data
from tests.support.plugins import Install, plugin_of, write_page

MAILS = b"""From ann@example.org Sat Jan  1 00:00:00 2028
Subject: Refund

Where is it?

From bob@example.org Sun Jan  2 00:00:00 2028
Subject: Pictures
Content-Type: multipart/mixed; boundary=x

--x

It came late.
--x--
From cyd@example.org Mon Jan  3 00:00:00 2028
Subject: Thanks

It came.
"""


@pytest.fixture
def mailbox(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the plugin of the page; return a folder with inbox.mbox, which its settings name."""
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "inbox.mbox").write_bytes(MAILS)
    monkeypatch.setenv("HUB_PLUGINS__MAILBOX__ROOT", str(folder))
    install(write_page("readers", tmp_path))
    return folder


def rows_of(source: str, folder: Path, **settings: object) -> list[object]:
    data = Data.model_validate({"source": source, **settings})
    found = []
    for place in files_of(source, folder):
        with open_place(place, folder, data, folder) as table:
            found += list(table.rows)
    return found


def test_a_suffix_a_folder_a_scheme_and_a_format_reach_the_reader(mailbox: Path, tmp_path: Path) -> None:
    first, second, third = rows_of("inbox.mbox", mailbox)
    assert first == RawRow(1, {"subject": "Refund", "text": "Where is it?"})
    assert (second.line, second.reason) == (6, "has several parts")
    assert third.values["subject"] == "Thanks"
    assert rows_of("mail", tmp_path) == [first, second, third]
    assert rows_of("mail://inbox", tmp_path) == [first, second, third]
    (tmp_path / "mails").write_bytes(MAILS)
    assert rows_of("mails", tmp_path, format="mbox") == [first, second, third]
    (tmp_path / "a.mbox.gz").write_bytes(gzip.compress(MAILS))
    assert rows_of("a.mbox.gz", tmp_path) == [first, second, third]


def test_a_plugins_format_is_profiled_and_uploaded_as_any_other(mailbox: Path) -> None:
    assert sniff("inbox.mbox", mailbox, mailbox).columns == ("subject", "text")
    assert sniff("mail://inbox", mailbox, mailbox).settings == {}
    assert format_by_name("Mails.MBOX") == "mbox"


def test_an_error_of_the_reader_is_one_of_the_data(mailbox: Path) -> None:
    with pytest.raises(BadData, match="is not one of the folders inbox"):
        rows_of("mail://outbox", mailbox)


def test_an_unknown_scheme_or_format_names_those_there_are(mailbox: Path) -> None:
    with pytest.raises(BadData, match=r"no reader has the scheme imap: There are hf:, mail:"):
        rows_of("imap://example.org/inbox", mailbox)
    with pytest.raises(BadData, match=r"No reader named 'mbx'. Available: conll, csv.*mbox"):
        rows_of("inbox.mbox", mailbox, format="mbx")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", r"Reader 'raises' failed in read\(\) on a\.raises: ZeroDivisionError"),
        ("later", r"Reader 'later' failed in the rows of a\.later: RecursionError"),
        ("nothing", r"Reader 'nothing' returned NoneType, not a Table"),
        ("dicts", r"Reader 'dicts' yields dict: yield RawRow"),
    ],
)
def test_a_reader_that_fails_is_named(install: Install, name: str, reason: str) -> None:
    install("failing-readers")
    with pytest.raises(BadPlugin, match=reason):
        list(open_table(f"a.{name}", io.BytesIO(b""), Data(source="a")).rows)


def test_a_connection_of_a_reader_is_closed_when_its_rows_are_not_wanted_any_more(install: Install) -> None:
    install("failing-readers")
    import failing_readers

    data = Data(source="held://x")
    with open_place("held://x", Path(), data, Path()) as table:
        next(table.rows)
        assert failing_readers.OPEN == ["held://x"]
    del table
    assert failing_readers.OPEN == []


MORE = """
import io
from contextlib import contextmanager

@hookimpl
def hub_readers():
    yield ReaderSpec("notes", "A folder of notes.", "made:Notes", folders=(".note",))
    yield ReaderSpec("drive", "Files on a drive.", "made:Drive", schemes=("drive",), fetches=True)

OPEN = []

class Notes(Reader):
    def read_folder(self, folder, files, options):
        rows = (RawRow(1, {"text": file.read_text()}, file.name) for file in files)
        return Table(folder.name, ("text",), rows)

class Drive(Reader):
    @contextmanager
    def open_url(self, url, request):
        name = url.removeprefix("drive:")
        if name == "gone.csv":
            raise NotFound("There is no such file.")
        OPEN.append(name)
        request.progress("fetch", 1, 1)
        try:
            yield SourceFile(name, io.BytesIO(b"text,label\\ngood,x\\n")) if name != "odd" else None
        finally:
            OPEN.remove(name)
"""


def test_a_folder_is_read_as_a_whole_and_a_fetched_file_by_the_reader_of_its_format(
    install: Install, tmp_path: Path
) -> None:
    install(plugin_of(tmp_path, MORE))
    (tmp_path / "mine").mkdir()
    for name in ("b", "a"):
        (tmp_path / "mine" / f"{name}.note").write_text(name)
    assert rows_of("mine", tmp_path) == [RawRow(1, {"text": name}, f"{name}.note") for name in "ab"]
    assert rows_of("drive:rows.csv", tmp_path) == [RawRow(2, {"text": "good", "label": "x"})]
    assert sniff("drive:rows.csv", tmp_path, tmp_path).columns == ("text", "label")
    import made

    assert made.OPEN == []
    with pytest.raises(BadData, match=r"drive:gone\.csv: There is no such file"):
        rows_of("drive:gone.csv", tmp_path)
    with pytest.raises(BadPlugin, match="Reader 'drive' opened NoneType, not a SourceFile"):
        rows_of("drive:odd", tmp_path)
    (tmp_path / "mine" / "c.csv").write_text("text\n")
    with pytest.raises(BadData, match=r"has data files and \.note files"):
        rows_of("mine", tmp_path)
    with pytest.raises(BadData, match="'notes' reads no single files"):
        rows_of("mine/c.csv", tmp_path, format="notes")
