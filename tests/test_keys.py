"""Scopes: which rights a key has, and for which deployments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.keys import EVERY_NAME, Right, Scopes


@pytest.mark.parametrize(
    ("scopes", "right", "name", "allowed"),
    [
        (["infer"], Right.INFER, "mood", True),
        (["infer"], Right.INFER, EVERY_NAME, True),
        (["infer"], Right.TRAIN, None, False),
        (["infer"], Right.DEPLOY, None, False),
        (["infer"], Right.ADMIN, None, False),
        (["infer:mood*"], Right.INFER, "mood", True),
        (["infer:mood*"], Right.INFER, "mood-2", True),
        (["infer:mood*"], Right.INFER, None, True),
        (["infer:mood*"], Right.INFER, "my-mood", False),
        (["infer:mood*"], Right.INFER, EVERY_NAME, False),
        (["infer:mood"], Right.INFER, "mood-2", False),
        (["infer:mo.d"], Right.INFER, "mood", False),
        (["infer:mood", "infer:taste"], Right.INFER, "taste", True),
        (["deploy:mood*"], Right.DEPLOY, "mood", True),
        (["deploy:mood*"], Right.DEPLOY, "taste", False),
        (["deploy:mood*"], Right.INFER, "mood", False),
        (["train"], Right.TRAIN, None, True),
        (["train"], Right.INFER, None, False),
        (["admin"], Right.INFER, "mood", True),
        (["admin"], Right.TRAIN, None, True),
        (["admin"], Right.DEPLOY, "mood", True),
        (["admin"], Right.ADMIN, None, True),
    ],
)
def test_what_scopes_allow(scopes, right, name, allowed) -> None:
    assert Scopes.parse(scopes).allows(right, name) is allowed


@pytest.mark.parametrize(
    "name",
    [
        "MOOD",
        "Mood",
        "m\u043e\u043ed",
        "mood\n",
        " mood",
        "\uff2d\uff2f\uff2f\uff24",
        "m\u200bood",
        "mood\0x",
    ],
)
def test_a_name_that_only_looks_alike_is_another(name) -> None:
    assert not Scopes.parse(["infer:mood"]).allows(Right.INFER, name)


NO_SCOPES = {
    "": "no scope",
    "Infer": "no scope",
    "read": "no scope",
    "infer:": "no pattern",
    "infer:MOOD": "no pattern",
    "infer:mood@3": "no pattern",
    "infer:m[a-z]d": "no pattern",
    "infer:m?d": "no pattern",
    "infer:../etc": "no pattern",
    "infer:mood\n": "no pattern",
    "infer:m\u043e\u043ed": "no pattern",
    f"infer:{'a' * 64}": "no pattern",
    "train:mood": "takes no pattern",
    "admin:*": "takes no pattern",
}


@pytest.mark.parametrize(("scope", "says"), NO_SCOPES.items())
def test_what_is_no_scope_is_refused(scope, says) -> None:
    with pytest.raises(ValueError, match=says):
        Scopes.parse([scope])


def test_a_key_without_a_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Scopes.parse([])


scopes = st.lists(
    st.sampled_from(["infer", "train", "deploy", "admin", "infer:mood*", "infer:a-b", "deploy:*x"]),
    min_size=1,
)


@given(scopes)
def test_scopes_are_read_as_they_are_written(given_scopes) -> None:
    read = Scopes.parse(given_scopes)
    assert Scopes.parse(str(read).split()) == read


def test_a_pattern_of_many_stars_is_matched_at_once() -> None:
    pattern = "a*" * 31 + "b"
    assert not Scopes.parse([f"infer:{pattern}"]).allows(Right.INFER, "a" * 63)
