"""Which format a file without a recipe is taken for, by its name and first line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hub.data.profile.read_options import Reading, data_for
from hub.data.profile.sniff import sniff
from hub.errors import BadData

TABLE = "text,label\ngood film,pos\nbad film,neg\n"


@pytest.mark.parametrize("name", ["reviews.mbox", "reviews.xlsx", "Reviews.ODS", "reviews.v2"])
def test_a_suffix_that_no_reader_has_is_an_error_with_those_that_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TABLE)
    with pytest.raises(
        BadData, match=r"no reader has the suffix \.\w+\. There are \.csv, .*\.parquet"
    ) as error:
        sniff(name, tmp_path, tmp_path)
    assert "data.format" in str(error.value)


def test_the_suffix_before_gz_counts(tmp_path: Path) -> None:
    (tmp_path / "reviews.mbox.gz").write_bytes(gzip.compress(TABLE.encode()))
    with pytest.raises(BadData, match=r"no reader has the suffix \.mbox\."):
        sniff("reviews.mbox.gz", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("SMSSpamCollection", TABLE.replace(",", "\t"), "tsv"),
        ("reviews.txt", TABLE, "csv"),
        ("reviews.data", TABLE, "csv"),
        ("reviews", '{"text": "good film", "label": "pos"}\n', "jsonl"),
    ],
)
def test_names_that_tell_no_format_are_read_as_the_first_line_looks(
    tmp_path: Path, name: str, text: str, kind: str
) -> None:
    (tmp_path / name).write_text(text)
    found = sniff(name, tmp_path, tmp_path)
    assert found.settings["format"] == kind
    assert found.columns == ("text", "label")


def test_a_delimiter_makes_a_file_of_any_name_a_table(tmp_path: Path) -> None:
    (tmp_path / "reviews.export").write_text(TABLE.replace(",", ";"))
    found = sniff("reviews.export", tmp_path, tmp_path, given={"delimiter": ";"})
    assert found.columns == ("text", "label")


def test_a_file_of_requests_is_read_in_the_format_of_the_training_data(tmp_path: Path) -> None:
    file = tmp_path / "reviews.export"
    file.write_text(TABLE)
    data = data_for(str(file), ["text"], {"format": "csv"}, Reading(), tmp_path)
    assert data.format == "csv"


def test_the_scheme_of_no_reader_is_an_error_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no reader has the scheme imap: There are hf:"):
        sniff("imap://mail/inbox", tmp_path, tmp_path)
