"""`hub keys`: keys for clients, hashes for settings."""

from __future__ import annotations

import hashlib
import json

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.errors import BadConfig
from hub.http.auth import Keys, Right

KEY = "a-key-of-some-length"


def run(*args: str, given: str = ""):
    return CliRunner().invoke(app, ["keys", *args], input=given)


def test_the_hash_of_a_key_is_what_the_settings_take() -> None:
    printed = run("hash", given=f"{KEY}\n").stdout.strip()
    assert printed == f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
    Keys("sha256:" + "0" * 64, [printed]).check(f"Bearer {KEY}", Right.INFER)


def test_a_new_key_is_another_each_time_and_comes_with_its_hash() -> None:
    made = [json.loads(run("new", "--json").stdout) for _ in range(2)]
    assert made[0]["key"] != made[1]["key"]
    for one in made:
        assert json.loads(run("hash", "--json", given=one["key"]).stdout) == {"hash": one["hash"]}


@pytest.mark.parametrize("bad", ["", "short", "with space in the middle", "sha256:12"])
def test_what_is_no_key_has_no_hash(bad) -> None:
    refusal = run("hash", given=f"{bad}\n").exception
    assert isinstance(refusal, BadConfig)
    assert not bad or bad not in str(refusal)
