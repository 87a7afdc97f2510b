"""Clients match on error codes: one that is recorded neither goes nor gets another status."""

from __future__ import annotations

from pathlib import Path

from hub import errors

RECORDED = Path(__file__).with_name("error_codes.txt")


def test_the_codes_are_the_recorded_ones() -> None:
    """Add a new code to the file; what is recorded may not go or change."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    now = {f"{kind.code} {kind.status}" for kind in kinds if issubclass(kind, errors.HubError)}
    recorded = set(RECORDED.read_text(encoding="utf-8").splitlines())
    assert sorted(recorded - now) == [], "these are gone or changed, and clients rely on them"
    assert sorted(now - recorded) == [], f"these are new: add them to {RECORDED.name}"
