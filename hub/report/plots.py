"""Plots of a report as SVG, in the colours of the page and without texts of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.report.html import svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve", "reliability"]

# Placeholder colours, which are replaced by CSS values.
INK, LINE, ACCENT, SECOND = "#101112", "#c0c1c2", "#2040e0", "#c06010"
CSS = {INK: "var(--ink)", LINE: "var(--line)", ACCENT: "var(--accent)", SECOND: "var(--second)"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
}
MAX_MARKERS = 30  # longer lines have no markers


def curve(points: Sequence[Sequence[float]], name: str, best: int | None = None) -> Markup:
    """Return points [step, value] as a line, with the step `best` marked."""

    def draw(axes: Axes) -> None:
        steps, values = zip(*points, strict=True)
        axes.plot(
            steps, values, color=ACCENT, linewidth=1.5, marker="o" if len(points) <= MAX_MARKERS else "", ms=3
        )
        if best is not None:
            axes.axvline(best, color=SECOND, linewidth=1, linestyle="--")
        axes.set_xlabel("step")
        axes.set_ylabel(name)

    return _to_svg(draw, (5.4, 2.6), name)


def reliability(bins: Sequence[Mapping[str, float]], salt: str) -> Markup:
    """Return a reliability diagram; the area of a point is proportional to its rows."""

    def draw(axes: Axes) -> None:
        largest = max(one["rows"] for one in bins)
        axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=":")
        for one in bins:
            ends = (one["confidence"], one["accuracy"])
            axes.plot((one["confidence"],) * 2, ends, color=SECOND, linewidth=1.5)
        axes.scatter(
            [one["confidence"] for one in bins],
            [one["accuracy"] for one in bins],
            s=[12 + 90 * one["rows"] / largest for one in bins],
            color=ACCENT,
            zorder=3,
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", aspect="equal")

    return _to_svg(draw, (3.2, 3.2), f"reliability-{salt}")


def _to_svg(draw: Any, size: tuple[float, float], salt: str) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure: Figure = Figure(figsize=size)
        draw(figure.subplots())
        figure.subplots_adjust(left=0.15, right=0.98, top=0.97, bottom=0.19)
        return svg(figure, salt, CSS)
