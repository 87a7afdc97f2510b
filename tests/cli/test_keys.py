"""`hub keys`: keys for clients, hashes for settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from hub.cli.main import app
from hub.config import load_settings
from hub.errors import BadConfig, BadRequest, Conflict, NotFound
from hub.http.auth import Keys, Right
from hub.store.catalog.keys import ApiKeys, KeyUsage
from hub.store.store import Store

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


def create(*args: str) -> dict[str, Any]:
    done = run("create", "shop", *args, "--json")
    assert done.exception is None, done.exception
    created: dict[str, Any] = json.loads(done.stdout)
    return created


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("list", "--json").stdout)["keys"]
    return found


def test_a_created_key_is_listed_without_its_text(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    limits = ("--requests", "60", "--rows", "600", "--concurrency", "4", "--weight", "2")
    created = create("--scope", "infer:mood*", "--scope", "train", "--expires", "30d", *limits)
    text = created.pop("key")
    assert listed() == [created]
    assert created["scopes"] == ["infer:mood*", "train"]
    assert (created["requests_per_minute"], created["rows_per_minute"], created["concurrency"]) == (
        60,
        600,
        4,
    )
    life = datetime.fromisoformat(created["expires"]) - datetime.fromisoformat(created["created"])
    assert life == timedelta(days=30)
    shown = run("list").stdout
    assert created["id"] in shown
    assert "60 requests/min, 600 rows/min, 4 at a time, weight 2" in shown
    assert text not in shown
    assert text.split("_", 2)[2] not in shown


def test_a_key_is_rotated_and_revoked() -> None:
    created = create()
    rotated = json.loads(run("rotate", created["id"], "--json").stdout)
    assert rotated["id"] == created["id"]
    assert rotated["key"] != created["key"]
    assert rotated["previous_until"]
    at_once = json.loads(run("rotate", created["id"], "--grace", "0s", "--json").stdout)
    assert at_once["previous_until"] is None
    assert json.loads(run("revoke", created["id"], "--json").stdout)["state"] == "revoked"
    assert isinstance(run("rotate", created["id"]).exception, Conflict)
    assert isinstance(run("revoke", "nobody").exception, NotFound)


def test_usage_is_shown_by_key_and_day() -> None:
    created = create()
    today, old = datetime.now(UTC).date(), datetime.now(UTC).date() - timedelta(days=40)
    counts = KeyUsage(requests=3, rows=5, tokens_in=60, tokens_out=7)
    keys = ApiKeys(Store(load_settings().home).catalog)
    keys.count({(created["id"], str(today)): counts, ("anonymous", str(old)): KeyUsage(requests=9)})
    found = json.loads(run("usage", "--json").stdout)["usage"]
    assert found == [{"key": created["id"], "label": "shop", "day": str(today), **asdict(counts)}]
    assert len(json.loads(run("usage", "--days", "60", "--json").stdout)["usage"]) == 2
    assert len(json.loads(run("usage", "anonymous", "--days", "60", "--json").stdout)["usage"]) == 1
    assert "shop" in run("usage").stdout


def test_usage_of_busy_keys_fits_a_terminal_of_80_columns(monkeypatch) -> None:
    created, day = create(), str(datetime.now(UTC).date())
    counts = KeyUsage(123_456, 9999, 10_000, 99_960, 999_600_000, 2_345_678_901_234)
    ApiKeys(Store(load_settings().home).catalog).count({(created["id"], day): counts})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    header, row = (line.split() for line in Text.from_ansi(run("usage").stdout).plain.splitlines())
    assert header == ["KEY", "LABEL", "DAY", "REQS", "LIMITED", "ERRORS", "ROWS", "IN", "OUT"]
    assert row == [created["id"], "shop", day, "123k", "9999", "10.0k", "100k", "1.0G", "2.3T"]


@pytest.mark.parametrize(
    "args",
    [
        ("--scope", "read"),
        ("--scope", "infer:MOOD"),
        ("--expires", "soon"),
        ("--expires", "30"),
        ("--expires", "999999w"),
        ("--requests", "0"),
        ("--weight", "0"),
    ],
)
def test_what_makes_no_key_is_refused(args) -> None:
    assert isinstance(run("create", "shop", *args).exception, BadRequest)
    assert listed() == []


def test_a_list_of_no_keys_creates_no_state_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "none"))
    assert "no keys" in run("list").stdout
    assert "Nothing was counted" in run("usage").stdout
    assert not (tmp_path / "none").exists()
