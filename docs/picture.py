"""Draws the picture of README.md: deployments, the versions behind them, slots, and the one base.

python -m docs.picture
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

__all__ = ["FILE", "svg"]

FILE = Path(__file__).with_name("picture.svg")

WIDTH, HEIGHT = 860, 400
X = {"deployment": 30, "version": 330, "slot": 630}  # left edges of the columns
BOX_WIDTH, BOX_HEIGHT, STEP, TOP = 200, 44, 58, 60
FILL = {"deployment": "#e3f0ff", "version": "#e9f7e6", "slot": "#fff3d6", "base": "#efe6fa"}

DEPLOYMENTS = ("reviews", "tickets", "help-desk")
VERSIONS = ("sentiment@1 (stable)", "sentiment@2 (canary)", "topics@4", "answers@1")
SLOTS = ("slot 1", "slot 2", "slot 3", "slot 4")
# From a row of one column to a row of the next, with the share of traffic and the look of the line.
POINTERS = ((0, 0, "90 %", ""), (0, 1, "10 %", "6 4"), (1, 2, "", ""), (2, 3, "", ""))
HEADINGS = (
    ("deployment", "Deployments: endpoints"),
    ("version", "Versions: immutable adapters"),
    ("slot", "Slots: adapter weights"),
)


def svg() -> str:
    """Return the picture as SVG."""
    parts = [_text(X[kind] + BOX_WIDTH / 2, 36, text, bold=True) for kind, text in HEADINGS]
    parts += [_arrow("deployment", *pointer) for pointer in POINTERS]
    parts += [_arrow("version", row, row, "", "") for row in range(len(VERSIONS))]
    for kind, names in (("deployment", DEPLOYMENTS), ("version", VERSIONS), ("slot", SLOTS)):
        parts += [_box(kind, X[kind], _top(row), BOX_WIDTH, name) for row, name in enumerate(names)]
    parts.append(_base())
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" \
font-family="Helvetica, Arial, sans-serif" font-size="14">
<title>Deployments point at versions; each version is in a slot beside one resident base model</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff" rx="8"/>
{body}
</svg>
"""


def _top(row: int) -> int:
    return TOP + row * STEP


def _base() -> str:
    """Draw the base under all slots, as wide as the picture."""
    y = _top(len(SLOTS)) + 10
    left, width = X["deployment"], X["slot"] + BOX_WIDTH - X["deployment"]
    middle = left + width / 2
    return "\n".join(
        (
            _rect("base", left, y, width, 76),
            _text(middle, y + 31, "One base model, resident on the device", bold=True),
            _text(middle, y + 55, "One forward pass runs rows of any mix of slots; slot 0 is the base alone"),
        )
    )


def _box(kind: str, x: int, y: int, width: int, name: str) -> str:
    return _rect(kind, x, y, width, BOX_HEIGHT) + "\n" + _text(x + width / 2, y + 27, name)


def _rect(kind: str, x: int, y: int, width: int, height: int) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILL[kind]}" stroke="#888"/>'
    )


def _text(x: float, y: float, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" fill="#222"{weight}>{escape(text)}</text>'


def _arrow(kind: str, row: int, to_row: int, label: str, dashes: str) -> str:
    """Draw an arrow from a row of a column to a row of the next column; `dashes` is an SVG dash pattern."""
    start = X[kind] + BOX_WIDTH
    end = start + X["version"] - X["deployment"] - BOX_WIDTH
    from_y, to_y = _top(row) + BOX_HEIGHT // 2, _top(to_row) + BOX_HEIGHT // 2
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    line = (
        f'<path d="M{start} {from_y}L{end} {to_y}" stroke="#555" stroke-width="1.5" fill="none" '
        f'marker-end="url(#head)"{dashed}/>'
    )
    if not label:
        return line
    x, y = (start + end) / 2 + 8, (from_y + to_y) / 2 - 7
    words = f'text-anchor="middle" fill="#555" font-size="12">{escape(label)}'
    return f'{line}\n<text x="{x:g}" y="{y:g}" {words}</text>'


if __name__ == "__main__":
    FILE.write_text(svg(), encoding="utf-8")
    print(f"wrote {FILE}")
