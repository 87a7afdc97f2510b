"""How many examples tests draw: few in `make test`, many in a thorough run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["load_profile", "seeds", "thorough"]

THOROUGH = "GRAFTHUB_THOROUGH"  # set to 1 by whoever has the time: docs/architecture.md
MAX_EXAMPLES = 30  # hypothesis draws 100 by default


def thorough() -> bool:
    """Return whether many examples are wanted."""
    return os.environ.get(THOROUGH, "") not in ("", "0")


def seeds(count: int) -> range:
    """Return the seeds of tests that draw what they do: the first alone, or so many in a thorough run."""
    return range(count if thorough() else 1)


def load_profile() -> None:
    """Set how hypothesis draws; slowness says something of the machine only."""
    settings.register_profile(
        "shared",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        # CI draws the same examples every time.
        derandomize="CI" in os.environ and not thorough(),
        max_examples=settings().max_examples if thorough() else MAX_EXAMPLES,
    )
    settings.load_profile("shared")
