from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import InvalidName
from hub.names import VersionRef, check_name, parse_version_ref


@pytest.mark.parametrize("name", ["a", "0", "movie-sentiment", "v1.2_x", "a" * 63])
def test_a_legal_name_is_returned_as_it_is(name: str) -> None:
    assert check_name(name, "adapter") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "a\\b",
        "..",
        "a..b",
        "a\n",
        "a\0",
        "é",
        "a" * 64,
        "a@1",
        None,
        3,
    ],
)
def test_any_other_name_is_refused_with_the_rule(name) -> None:
    with pytest.raises(InvalidName, match="is not a valid base name: use 1 to 63 of"):
        check_name(name, "base")


@given(st.text())
def test_a_name_that_passes_is_one_harmless_path_part(text: str) -> None:
    try:
        name = check_name(text, "adapter")
    except InvalidName:
        return
    assert PurePosixPath("home", name).parts == ("home", name)
    assert re.fullmatch(r"[a-z0-9._-]+", name) and ".." not in name


@pytest.mark.parametrize(
    ("text", "ref"),
    [("x", VersionRef("x")), ("x@1", VersionRef("x", 1)), ("x-y@120", VersionRef("x-y", 120))],
)
def test_a_reference_is_a_name_with_or_without_a_number(text: str, ref: VersionRef) -> None:
    assert parse_version_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "text", ["x@", "x@0", "x@01", "x@-1", "x@1.0", "x@latest", "x@1@2", "x@٣", "x@9999999999"]
)
def test_a_number_that_is_none_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(InvalidName, match="such as x@1"):
        parse_version_ref(text)


@pytest.mark.parametrize("text", ["", "@1", "../x@1", "X@1"])
def test_a_reference_needs_a_legal_name(text: str) -> None:
    with pytest.raises(InvalidName, match="not a valid adapter name"):
        parse_version_ref(text)


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True), st.integers(1, 10**9 - 1))
def test_what_is_printed_is_read_back(name: str, number: int) -> None:
    assert parse_version_ref(str(VersionRef(name, number))) == VersionRef(name, number)
