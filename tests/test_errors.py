from __future__ import annotations

import errno
import inspect
import re

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from hub import errors
from hub.errors import HostFault, HubError, MissingExtra, NotFound, first_problem, listed


def subclasses(error: type[HubError]) -> list[type[HubError]]:
    return [error, *(deeper for below in error.__subclasses__() for deeper in subclasses(below))]


TREE = [error for error in subclasses(HubError) if error.__module__.startswith("hub.errors")]


def test_every_error_is_exported_and_no_other_class() -> None:
    exported = [name for name in errors.__all__ if inspect.isclass(getattr(errors, name))]
    assert sorted(exported) == sorted(error.__name__ for error in TREE)


def test_the_tree_in_the_docstring_is_the_tree_there_is() -> None:
    drawn = re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or "")
    assert sorted(drawn) == sorted(error.__name__ for error in TREE if error is not HubError)


def test_the_statuses_in_the_docstring_are_those_there_are() -> None:
    for name, status in re.findall(r"[├└]── (\w+) +(\d{3})", inspect.getdoc(errors) or ""):
        assert getattr(errors, name).status == int(status), name


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in TREE]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_an_error_is_one_json_object_and_an_http_status(error: type[HubError]) -> None:
    assert error("what to do").to_json() == {"error": {"code": error.code, "message": "what to do"}}
    assert 400 <= error.status <= 599


def test_what_is_not_found_is_answered_with_what_there_is() -> None:
    assert str(NotFound.of("base", "x", ["b", "a"], "Pull one.")) == (
        "No base named 'x'. Available: a, b. Pull one."
    )
    assert str(NotFound.of("base", "x", [])) == "No base named 'x'. There is no base yet."
    assert str(NotFound.of("deployment", "x", ["b", "a"], "Make one.", bases=["d", "c"])) == (
        "No deployment named 'x'. Available: a, b. Bases: c, d. Make one."
    )
    assert str(NotFound.of("deployment", "x", [], bases=["c"])) == (
        "No deployment named 'x'. There is no deployment yet. Bases: c."
    )


def test_of_many_names_those_nearest_to_the_unknown_one_are_listed() -> None:
    names = [f"tenant-{number:04}" for number in range(5000)]
    message = str(NotFound.of("deployment", "tenant-404l", names))
    assert "Available: tenant-4" in message and "tenant-4041" in message
    assert message.endswith(" and 4980 more.")
    assert message.count("tenant-") == 21
    assert listed(names).startswith("tenant-0000, tenant-0001")


def test_a_missing_extra_is_named_with_the_command_that_brings_it() -> None:
    assert "pip install 'grafthub[pg]'" in str(MissingExtra.of("PostgreSQL", "pg"))


def test_the_first_problem_of_a_validation_has_a_dotted_key_and_no_value() -> None:
    class Inner(BaseModel):
        rank: int

        @field_validator("rank")
        @classmethod
        def _even(cls, rank: int) -> int:
            if rank % 2:
                raise ValueError("must be even")
            return rank

    class Outer(BaseModel):
        items: list[Inner]

    with pytest.raises(ValidationError) as found:
        Outer.model_validate({"items": [{"rank": 2}, {"rank": 3}]})
    assert first_problem(found.value) == ("items.1.rank", "must be even")
    with pytest.raises(ValidationError) as found:
        Outer.model_validate("secret")
    key, reason = first_problem(found.value, "the file")
    assert key == "the file"
    assert "secret" not in reason


@pytest.mark.parametrize(("number", "named"), [(errno.ENOSPC, "there"), (errno.EACCES, "here")])
def test_the_file_that_is_written_is_named_where_a_disk_is_full(number: int, named: str) -> None:
    assert f"({named})" in str(HostFault.of(OSError(number, "why", "here", None, "there")))
