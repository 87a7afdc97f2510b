"""Small lines in tables, as the points of an SVG polyline."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["HEIGHT", "WIDTH", "sparkline"]

WIDTH, HEIGHT = 120, 24
SHOWN = 60  # values


def sparkline(values: Sequence[float]) -> str:
    """Return the points of the newest values from left to right, the highest on top; "" for fewer than 2."""
    shown = list(values[-SHOWN:])
    if len(shown) < 2:
        return ""
    top = max(*shown, 1e-9)
    step = WIDTH / (SHOWN - 1)
    left = WIDTH - step * (len(shown) - 1)
    return " ".join(
        f"{left + step * place:.1f},{HEIGHT - 1 - (HEIGHT - 2) * value / top:.1f}"
        for place, value in enumerate(shown)
    )
