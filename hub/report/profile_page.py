"""Renders a data profile as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hub.data.profile.profile import Profile
from hub.report.html import render, svg

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["page"]

BARS = 20
BINS = 40
SHOWN = 20  # lines of one anomaly


def page(profile: Profile) -> str:
    """Return the page, with names of columns and labels but no texts of rows."""
    plots = {
        f"Characters of {name}": _histogram(name, lengths) for name, lengths in profile.characters.items()
    }
    counted = {"Labels": profile.labels, "Languages": profile.languages}
    plots |= {name: _bars(name, counts) for name, counts in counted.items() if counts}
    return render("profile.html", profile=profile, plots=plots, bars=BARS, shown=SHOWN)


def _histogram(name: str, lengths: Sequence[int]) -> Markup:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(lengths, bins=BINS, color="#3b6ea5")
    axes.set_xlabel("characters")
    axes.set_ylabel("rows")
    return svg(figure, f"lengths-{name}")


def _bars(name: str, counts: Mapping[str, int]) -> Markup:
    from matplotlib.figure import Figure

    top = list(counts.items())[:BARS][::-1]
    figure = Figure(figsize=(6, 0.8 + 0.24 * len(top)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(top)), [count for _, count in top], color="#3b6ea5")
    axes.set_yticks(range(len(top)), [_printable(label) for label, _ in top], parse_math=False)
    axes.set_xlabel("rows")
    return svg(figure, f"bars-{name}")


def _printable(label: str) -> str:
    """Return a label without unprintable characters, at most 40 characters long."""
    shown = "".join(char if char.isprintable() else " " for char in label)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
