"""Plots of reports: a quarter of a short training is drawing them, and few tests look at a report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from markupsafe import Markup

from hub.report import page, plots

__all__ = ["plots_are_drawn", "plots_are_left_out"]


@pytest.fixture(scope="session", autouse=True)
def plots_are_left_out() -> Iterator[None]:
    """Put an empty element in the place of each plot of what this process trains."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("curve", "reliability"):
            patch.setattr(page, name, lambda *given: Markup("<svg></svg>"))
        yield


@pytest.fixture(scope="module", autouse=True)
def plots_are_drawn(plots_are_left_out: None) -> Iterator[None]:
    """Draw them in a module that imports this fixture."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("curve", "reliability"):
            patch.setattr(page, name, getattr(plots, name))
        yield
